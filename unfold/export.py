"""Networks for other programs: y and the tensors of the operator as inputs."""

import copy
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unfold.errors import ShapeError
from unfold.extras import deepinv
from unfold.models.unfolded import Unfolded
from unfold.physics.custom.deepinv import DeepinvNonlinear, DeepinvOperator, joined
from unfold.physics.operator import Operator
from unfold.pytree import tensors, with_tensors
from unfold.reconstructor import Reconstructor
from unfold.solvers.conjugate_gradient import default_tol
from unfold.typing import Image, Measurement


class Exportable(nn.Module):
    """x̂ from y and the tensors of the operator: kernels and masks are inputs, not constants.

    A trained network is exported once and serves every operator of the same shape:

        example = physics.operator_for(y)
        with torch.no_grad():
            program = torch.export.export(Exportable(net, example), (y, *tensors(example)))
        image = program.module()(y, *tensors(another))

    A graph has a fixed length: an equilibrium or a classical algorithm takes `iterations` plain
    steps in it, and conjugate gradients as many as `with exported_iterations(N)` gives them, of
    `unfold.solvers.conjugate_gradient`; without it they are refused.

    Networks compute in single precision, whatever they were trained in.

    Args:
        reconstructor: is not changed.
        operator: of the kind and the shapes that will be given; its own tensors are not used.
        noise_level: whether σ of each measurement, (B,), is the last input.
        iterations: of a model that is not unfolded; None for the model as it is.
    """

    def __init__(
        self,
        reconstructor: Reconstructor,
        operator: Operator,
        *,
        noise_level: bool = False,
        iterations: int | None = None,
    ) -> None:
        super().__init__()
        net = copy.copy(reconstructor)
        net.half_precision = False
        if iterations is not None and not isinstance(net.model, Unfolded):
            net.model = Unfolded(iterations, solve_tol=default_tol(torch.float32))
        self.reconstructor, self.operator, self.noise_level = net, operator, noise_level

    def forward(self, y: Measurement, *given: Tensor) -> Image:
        """Reconstruct; `given` are the operator's tensors, in the order of `tensors(operator)`."""
        parts, level = (given[:-1], given[-1]) if self.noise_level else (given, None)
        assert len(parts) == len(tensors(self.operator))
        operator = with_tensors(self.operator, list(parts))
        image: Image = self.reconstructor(y, operator, level)
        return image


def tensor_names(tree: object, name: str = "") -> list[str]:
    """The name of every tensor of an operator, in the order of `tensors`: `mask`, `parts_0_kernel`.

    The operator inside a wrapped one gives no part of a name.
    """
    if isinstance(tree, Tensor):
        return [name]
    if is_dataclass(tree):
        own = [(one.name, getattr(tree, one.name)) for one in fields(tree)]
    else:
        own = [(str(i), v) for i, v in enumerate(tree)] if isinstance(tree, tuple) else []
    lead = "" if name in ("", "operator") else f"{name}_"
    return [found for key, value in own for found in tensor_names(value, f"{lead}{key}")]


class DeepinvModel(nn.Module):
    """x̂ from y and a physics of deepinv: what its `Trainer` and `test` call a model.

    The operator is that of the physics, whose solves are by conjugate gradients; σ is that of its
    noise model, where it has one.
    """

    def __init__(self, reconstructor: Reconstructor) -> None:
        super().__init__()
        self.reconstructor = reconstructor

    def forward(self, y: Any, physics: Any, **_: Any) -> Image:
        """The image behind y, a tensor or a list of them; other arguments of deepinv's are unused.

        Raises:
            ShapeError: the images of the physics are complex, or its noise levels are neither one
                nor one for each measurement.
        """
        parts = [y] if isinstance(y, Tensor) else list(y)
        with torch.no_grad():
            image = physics.A_adjoint(y)
        if image.is_complex():
            raise ShapeError(
                f"{type(physics).__name__}: its images are {image.dtype}, and real ones are "
                "expected. Give it a physics with two real channels."
            )
        level, count = _level_of(physics, image), len(image)
        # What deepinv samples for each image has four axes, its batch first.
        own = {n: t for n, t in physics.named_buffers() if t.ndim > 3 and len(t) == count > 1}
        linear = isinstance(physics, deepinv().physics.LinearPhysics)
        flat = joined(y)
        operator = (DeepinvOperator if linear else DeepinvNonlinear)(
            physics,
            tuple(image.shape[1:]),
            tuple(tuple(part.shape[1:]) for part in parts),
            complex_y=flat.is_complex(),
            names=tuple(own),
            held=tuple(own.values()),
        )
        found: Image = self.reconstructor(flat, operator, level)
        return found


def _level_of(physics: Any, image: Tensor) -> Tensor | None:
    """σ of each measurement, where the noise model has one."""
    sigma = getattr(getattr(physics, "noise_model", None), "sigma", None)
    if sigma is None:
        return None
    level = torch.as_tensor(sigma).to(image).reshape(-1)
    if level.numel() not in (1, len(image)):
        raise ShapeError(
            f"noise_model.sigma: {level.numel()} noise levels for {len(image)} measurements. Give "
            "one of all, or one for each."
        )
    return level.expand(len(image))
