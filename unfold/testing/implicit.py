"""The implicit function theorem by a dense solve: the reference for gradients of equilibria."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unfold.physics.operator import Operator
from unfold.pytree import tensors, with_tensors
from unfold.reconstructor import Reconstructor
from unfold.solvers.anderson import Anderson
from unfold.solvers.fixed_point import pack, unpack
from unfold.typing import Image, Measurement


class Dense(NamedTuple):
    """Gradients by a dense solve.

    gradients: in the order of `at`; zeros for unused leaves.
    radius: the spectral radius of the Jacobian of the step at the fixed point.
    defect: ‖T(s) − s‖∞ at the computed fixed point.
    """

    gradients: list[Tensor]
    radius: float
    defect: float


def equilibrium(net: Reconstructor, y: Measurement, operator: Operator) -> tuple[Any, float]:
    """The fixed point of the plain step, iterated to rounding, and its defect."""
    with torch.no_grad():
        algorithm, problem = net.steps(y, operator).at(0)
        start = algorithm.init(problem)

        def T(z: Tensor) -> Tensor:
            return pack(algorithm.step(unpack(z, start), problem))

        end = Anderson().solve(T, pack(start), tol=1e-15, max_iterations=2000)
        defect = float((T(end.image) - end.image).abs().max())
    return unpack(end.image, start), defect


def jacobian(net: Reconstructor, y: Measurement, operator: Operator, state: Any) -> Tensor:
    """J of the packed step at a state of one image, column by column."""
    steps = net.steps(y.detach(), operator)

    def flat(z: Tensor) -> Tensor:
        return pack(steps.step(0, unpack(z[None], state)))[0]

    result: Tensor = torch.autograd.functional.jacobian(flat, pack(state)[0])  # type: ignore[no-untyped-call]
    return result


def dense_gradients(
    net: Reconstructor,
    y: Measurement,
    operator: Operator,
    loss: Callable[[Image], Tensor],
    at: Sequence[Tensor],
) -> Dense:
    """The gradients of loss(image of the fixed point), by solving (I − Jᵀ)w = v as a matrix.

    Args:
        net: in float64; its model is not used.
        y: of one small image.
        operator: A.
        loss: of the image.
        at: what to differentiate in; leaves, of which y may be one.
    """
    state, defect = equilibrium(net, y, operator)
    J = jacobian(net, y, operator, state)
    with torch.enable_grad():
        leaves = [t.clone().requires_grad_() for t in tensors(state)]
        algorithm, _ = net.steps(y, operator).at(0)
        value = loss(algorithm.image(with_tensors(state, leaves)))
        grads = torch.autograd.grad(value, leaves, allow_unused=True)
        v = pack(tuple(_filled(grads, leaves)))[0]
        w = torch.linalg.solve(torch.eye(len(v), dtype=v.dtype) - J.mT, v)
        end = pack(net.steps(y, operator).step(0, state))[0]
        found = torch.autograd.grad(end, list(at), w, allow_unused=True)
    radius = float(torch.linalg.eigvals(J).abs().max())
    return Dense(_filled(found, at), radius, defect)


def _filled(grads: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor]:
    pairs = zip(grads, like, strict=True)
    return [torch.zeros_like(t) if g is None else g for g, t in pairs]
