"""Operators of the package deepinv, linear or not."""

import inspect
from abc import ABC
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import prod
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from unfold.errors import ConfigError, ShapeError
from unfold.extras import deepinv
from unfold.physics.custom.functions import USER_ERRORS, name_of
from unfold.physics.nonlinear import NonlinearOperator
from unfold.physics.operator import LinearOperator, Operator
from unfold.typing import Image, Measurement, Shape


class SampledPhysics(NamedTuple):
    """A physics with independent parameters for every image.

    physics: a copy in which the parameters exist.
    names: the buffers that were sampled.
    values: of them, (B, …) each.
    """

    physics: nn.Module
    names: tuple[str, ...]
    values: tuple[Tensor, ...]


def construct(make: Callable[..., Any], shape: Shape, seed: int) -> Any:
    """Call `make` with the size of the images, where it asks for one that is not given.

    Args:
        make: a class, or a partial one.
        shape: (C, H, W).
        seed: of PyTorch's generator meanwhile.

    Raises:
        ConfigError: it refuses its arguments.
    """
    given = make.keywords if isinstance(make, partial) else {}
    asked = inspect.signature(make).parameters
    sizes = {"img_size": shape, "img_width": shape[-1]}
    more = {name: size for name, size in sizes.items() if name in asked and name not in given}
    try:
        with fixed(seed):
            return make(**more)
    except USER_ERRORS as error:
        raise ConfigError(f"{made_by(make)} refuses its arguments: {error}") from error


def made_by(make: Callable[..., Any]) -> str:
    """The name of a class, also of a partial one."""
    return name_of(make.func if isinstance(make, partial) else make)


def sample_parameters(physics: nn.Module, generator: Any, seeds: list[int]) -> SampledPhysics:
    """Parameters for every image from its own seed, whatever the batch.

    Args:
        physics: is not changed.
        generator: a `PhysicsGenerator`.
        seeds: of the images.

    Raises:
        ConfigError: the generator samples nothing that the physics has.
    """
    copies: list[Any] = []
    for own in seeds:
        with fixed(own):
            parameters = generator.step(batch_size=1, seed=own)
        copies.append(cast(Any, physics).clone())
        copies[-1].update_parameters(**parameters)
    before, found = dict(physics.named_buffers()), [dict(c.named_buffers()) for c in copies]
    names = tuple(n for n, t in found[0].items() if t is not before.get(n) and _new(t, before, n))
    if not names:
        raise ConfigError(
            f"{type(physics).__name__}: the generator samples none of its parameters."
        )
    return SampledPhysics(copies[0], names, tuple(torch.cat([f[n] for f in found]) for n in names))


def _new(t: Tensor, before: dict[str, Tensor], name: str) -> bool:
    return name not in before or before[name].shape != t.shape or not torch.equal(before[name], t)


@contextmanager
def fixed(seed: int) -> Iterator[None]:
    """PyTorch's generator from a seed, and as it was afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def like(physics: nn.Module, x: Tensor) -> nn.Module:
    """A copy of a physics on the device and in the precision of `x`; complex stays complex."""
    copy: Any = cast(Any, physics).clone()
    moved: nn.Module = copy._apply(lambda t: t.to(x.device, kind(t, x)))
    for part in moved.modules():
        own = vars(part).get("dtype")  # to which some convert what they are given
        if isinstance(own, torch.dtype):
            vars(part)["dtype"] = kind(torch.empty((), dtype=own), x)
    return moved


def kind(t: Tensor, x: Tensor) -> torch.dtype:
    """That of t in the precision of x; whole numbers stay."""
    real = x.dtype.to_real()
    if t.is_complex():
        return real.to_complex()
    return real if t.is_floating_point() else t.dtype


class Method(nn.Module):
    """A method of a physics as a function of its buffers.

    Args:
        physics: of deepinv; it is shared, not copied.
    """

    def __init__(self, physics: nn.Module) -> None:
        super().__init__()
        self.physics = physics

    def forward(self, name: str, *given: Any) -> Any:
        """The method `name` of the physics."""
        return getattr(self.physics, name)(*given)


@dataclass(frozen=True, eq=False)
class DeepinvBase(Operator, ABC):
    """A map of deepinv, of real images; a list of measurements is one vector.

    Args:
        physics: a `deepinv.physics.Physics`, which is never changed.
        image_shape: of one image, (C, H, W).
        parts: the shapes of the measurements of one image; of several in a list.
        complex_y: whether measurements are complex.
        complex_x: whether the physics takes complex images; it is given real ones as such.
        names: the buffers of the physics with values per image.
        held: their values, (B, …) each.
    """

    pickles = False  # the modules of deepinv hold functions without a name

    physics: nn.Module
    image_shape: Shape
    parts: tuple[Shape, ...]
    complex_y: bool = False
    complex_x: bool = False
    names: tuple[str, ...] = ()
    held: tuple[Tensor, ...] = ()

    @property
    def measurement_shape(self) -> Shape:
        """That of the measurement; the length of the vector where there are several."""
        return self.parts[0] if len(self.parts) == 1 else (sum(map(prod, self.parts)),)

    complex_images = False

    @property
    def complex_measurements(self) -> bool:
        return self.complex_y

    @property
    def anchor(self) -> Tensor:
        own = (t for t in self.physics.buffers() if t.is_floating_point() or t.is_complex())
        return next(own, torch.empty(()))

    def forward(self, x: Image) -> Measurement:
        if x.is_complex():
            raise ShapeError(f"{type(self).__name__}.A expects real images, got {x.dtype}.")
        return joined(self._call("A", self.given(x)))

    def to_like(self, x: Tensor) -> "DeepinvBase":
        """The same operator on the device and in the precision of `x`."""
        moved = super().to_like(x)
        if all(t.device == x.device and kind(t, x) == t.dtype for t in self.physics.buffers()):
            return moved
        return replace(moved, physics=like(self.physics, x))

    def given(self, x: Image) -> Image:
        """The image as the physics takes it."""
        return x.to(x.dtype.to_complex()) if self.complex_x else x

    def split(self, y: Measurement) -> Any:
        """The measurement as the physics has it."""
        if len(self.parts) == 1:
            return y
        sizes = [prod(shape) for shape in self.parts]
        pairs = zip(torch.split(y, sizes, 1), self.parts, strict=True)
        return deepinv().utils.TensorList([part.reshape(-1, *shape) for part, shape in pairs])

    @cached_property
    def _method(self) -> Method:
        return Method(self.physics)

    def _call(self, name: str, *given: Any) -> Any:
        own = {f"physics.{n}": v for n, v in zip(self.names, self.held, strict=True)}
        return functional_call(self._method, own, (name, *given))


@dataclass(frozen=True, eq=False)
class DeepinvOperator(DeepinvBase, LinearOperator):
    """A and A* of a `LinearPhysics`; its solves are by conjugate gradients."""

    def adjoint(self, y: Measurement) -> Image:
        return real(self._call("A_adjoint", self.split(y)))


@dataclass(frozen=True, eq=False)
class DeepinvNonlinear(DeepinvBase, NonlinearOperator):
    """A of a `Physics` that is not linear, with the vector–Jacobian product that it has."""

    def vjp(self, x: Image, u: Measurement) -> Image:
        """J(x)*u, by the formula of the physics, or the reverse mode of a list of measurements."""
        if len(self.parts) > 1:  # which that of deepinv does not take
            return super().vjp(x, u)
        return real(self._call("A_vjp", self.given(x), u))


def joined(y: Any) -> Tensor:
    """One tensor, or those of a list side by side."""
    if isinstance(y, Tensor):
        return y
    return torch.cat([part.flatten(1) for part in y], 1)


def real(x: Tensor) -> Tensor:
    """The real part of what is complex."""
    return x.real if x.is_complex() else x
