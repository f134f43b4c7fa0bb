"""Properties of unfolded networks and of equilibria: values and gradients.

The reference for gradients of equilibria is the implicit function theorem by a dense solve.
"""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unfold.models.deq import DEQ
from unfold.models.equilibrium_gradient import Implicit
from unfold.models.unfolded import Checkpoint, Unfolded
from unfold.physics.operator import Operator
from unfold.pytree import batched_norm, tensors, with_tensors
from unfold.reconstructor import Reconstructor
from unfold.solvers.acceleration import Anderson
from unfold.solvers.fixed_point import fixed_point, pack, unpack
from unfold.solvers.result import Stopping
from unfold.testing.proximal import gaussian
from unfold.testing.report import Check, Report, holds, report
from unfold.typing import Image, Measurement


def loss(image: Image, scale: float = 1.0) -> Tensor:
    """A loss without symmetry."""
    weights = gaussian(*image.shape, seed=11, dtype=image.dtype)
    return scale * (image * weights + 0.5 * image.square()).sum()


def check_unfolded(net: Reconstructor, y: Measurement, operator: Operator) -> Report:
    """UN1 to UN4 of an unfolded reconstructor.

    Args:
        net: in float64.
        y: of a few small images.
        operator: A.
    """
    assert isinstance(net.model, Unfolded)
    return report("Unfolded", _unfolded(net, net.model, y, operator))


def _unfolded(
    net: Reconstructor, model: Unfolded, y: Measurement, operator: Operator
) -> Iterator[Check]:
    with torch.no_grad():
        steps = net.steps(y, operator)
        algorithm, problem = steps.at(0)
        state = algorithm.init(problem)
        for k in range(model.iterations):
            state = steps.step(k, state)
        plain = algorithm.image(state)
        yield holds(
            "UN1", "K iterations of the plain step, bitwise", torch.equal(plain, net(y, operator))
        )
    parameters = {n: p for n, p in net.named_parameters() if p.requires_grad}
    found = _gradients(net, y, operator, list(parameters.values()))
    other = copy.deepcopy(net)
    other.model = replace(model, backward=Checkpoint())
    learned = [p for p in other.parameters() if p.requires_grad]
    kept = _gradients(other, y, operator, learned)
    yield Check("UN3", "checkpointed gradients are the full ones", _error(kept, found), 1e-12)
    for (name, parameter), gradient in zip(parameters.items(), found, strict=True):
        yield holds("UN4", "what is learned has a gradient", bool(gradient.any()))
        error = _slope_error(net, y, operator, parameter, gradient)
        yield Check("UN2", f"the gradient in {name.rpartition('.')[2]}", error, 1e-6)


def check_equilibrium(net: Reconstructor, y: Measurement, operator: Operator) -> Report:
    """DQ1, DQ2 and the honesty of the forward iteration of an equilibrium.

    Args:
        net: in float64.
        y: of one small image.
        operator: A.
    """
    assert isinstance(net.model, DEQ)
    return report("DEQ", _equilibrium(net, net.model, y, operator))


def _equilibrium(
    net: Reconstructor, model: DEQ, y: Measurement, operator: Operator
) -> Iterator[Check]:
    tight = copy.deepcopy(net)
    backward = Implicit(tol=1e-12, max_iterations=500)
    tight.model = replace(model, tol=1e-13, max_iterations=2000, backward=backward)
    at = [y.clone().requires_grad_(), *(p for p in tight.parameters() if p.requires_grad)]
    dense = dense_gradients(tight, at[0], operator, loss, at)
    yield Check("DQ0", "the step has a fixed point", dense.defect, 1e-10)
    yield Check("DQ0", "the step contracts there", dense.radius, 1.0)
    for scale in (1e-6, 1.0, 1e6):
        found = _gradients(tight, at[0], operator, at[1:], scale)
        error = _error([g / scale for g in found], dense.gradients)
        yield Check("DQ1", "the gradient is the implicit one, at any scale", error, 1e-6)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = _gradients(net, at[0], operator, [p for p in net.parameters() if p.requires_grad])
    error = 0.0 if caught else _error(found, dense.gradients)
    yield Check("DQ2", "as configured, it is accurate or warns", error, 1e-2)
    yield from _honest(net, y, operator)


def _honest(net: Reconstructor, y: Measurement, operator: Operator) -> Iterator[Check]:
    """Where `converged` is set, one more step hardly changes the state."""
    with torch.no_grad():
        solution = net.solve(y, operator)
        assert solution.converged is not None and isinstance(net.model, DEQ)
        state = pack(solution.state)
        following = pack(net.steps(y, operator).step(0, solution.state))
        moved = batched_norm(following - state) / batched_norm(following)
        false_claims = torch.where(solution.converged, moved, torch.zeros_like(moved))
    yield Check("DQ5", "reached means reached", float(false_claims.max()), 2 * net.model.tol)
    finite = bool(solution.image[solution.converged].isfinite().all())
    yield holds("DQ5", "what is reached is finite", finite)


def _gradients(
    net: Reconstructor, y: Tensor, operator: Operator, at: Sequence[Tensor], scale: float = 1.0
) -> list[Tensor]:
    """Gradients with respect to y, where it requires one, and to `at`."""
    leaves = [y, *at] if y.requires_grad else at
    with torch.enable_grad():
        value = loss(net(y, operator), scale)
        return list(torch.autograd.grad(value, leaves, materialize_grads=True))


def _error(got: list[Tensor], want: list[Tensor]) -> float:
    """The largest error of all gradients, against the largest entry of all."""
    scale = max(float(w.abs().max()) for w in want)
    return max(float((g - w).abs().max()) for g, w in zip(got, want, strict=True)) / scale


def _slope_error(
    net: Reconstructor, y: Tensor, operator: Operator, parameter: Tensor, gradient: Tensor
) -> float:
    """The gradient along itself against central differences, relative; the best of several.

    A long step crosses the kinks of a network, a short one is rounding: no length suits all.
    """
    size = float(gradient.norm())
    if size == 0:
        return 0.0
    direction, held = gradient / size, parameter.detach().clone()
    errors = []
    with torch.no_grad():
        for h in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8):
            values = []
            for sign in (1.0, -1.0):
                parameter.copy_(held + sign * h * direction)
                values.append(float(loss(net(y, operator))))
            errors.append(abs((values[0] - values[1]) / (2 * h) - size) / size)
        parameter.copy_(held)
    return min(errors)


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
        step = partial(algorithm.step, problem=problem)
        stopping = Stopping(tol=1e-15, max_iterations=2000)
        state, _ = fixed_point(step, algorithm.init(problem), Anderson(), stopping)
        defect = float((pack(step(state)) - pack(state)).abs().max())
    return state, defect


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

    The network is in float64 and its model is not used; y is of one small image. `at` are leaves,
    of which y may be one.
    """
    state, defect = equilibrium(net, y, operator)
    J = jacobian(net, y, operator, state)
    with torch.enable_grad():
        leaves = [t.clone().requires_grad_() for t in tensors(state)]
        algorithm, _ = net.steps(y, operator).at(0)
        value = loss(algorithm.image(with_tensors(state, leaves)))
        v = pack(torch.autograd.grad(value, leaves, materialize_grads=True))[0]
        w = torch.linalg.solve(torch.eye(len(v), dtype=v.dtype) - J.mT, v)
        end = pack(net.steps(y, operator).step(0, state))[0]
        found = torch.autograd.grad(end, list(at), w, materialize_grads=True)
    radius = float(torch.linalg.eigvals(J).abs().max())
    return Dense(list(found), radius, defect)
