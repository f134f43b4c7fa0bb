"""What does not converge is never called converged, and its gradient is told."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from tests.engine import inpainting, measured, normal, problem, reconstructor, weighted_loss
from tests.models.test_equilibrium_gradient import gradients, spread, worst
from unfold.algorithms.algorithm import Algorithm
from unfold.algorithms.pgd import PGD
from unfold.errors import ConvergenceError
from unfold.models.deq import DEQ
from unfold.models.equilibrium_gradient import Implicit, Phantom
from unfold.models.model import Steps
from unfold.priors.tikhonov import Tikhonov
from unfold.solvers.acceleration import Anderson, Broyden
from unfold.solvers.fixed_point import Picard, Solver
from unfold.solvers.result import ConvergenceWarning


class Point(NamedTuple):
    x: Tensor


@dataclass(frozen=True)
class Mapped(Algorithm[Point]):
    """x⁺ = F(x), whatever F is."""

    F: Any = None
    start: Any = None

    def init(self, problem: Any) -> Point:
        return Point(self.start)

    def step(self, state: Point, problem: Any) -> Point:
        return Point(self.F(state.x))

    def image(self, state: Point) -> Tensor:
        return state.x

    def guarantee(self, problem: Any) -> Any:
        return None


def diverging(i: int) -> Callable[[Tensor], Tensor]:
    """Fifty maps without a fixed point within reach."""
    kinds: list[Callable[[Tensor], Tensor]] = [
        lambda z: (1.5 + i) * z.abs() + 1,
        lambda z: z**2 + 1 + i,
        lambda z: (z.abs() + i + 1).exp(),
        lambda z: torch.full_like(z, torch.nan) if i % 2 else z * torch.inf + torch.inf,
        lambda z: z + z.norm() + i,
    ]
    return kinds[i % 5]


@pytest.mark.filterwarnings("ignore:The equilibrium was not reached")
@pytest.mark.parametrize("solver", [Anderson(), Broyden(), Picard()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_none_of_fifty_diverging_maps_is_called_converged(solver: Solver, dtype: torch.dtype):
    model, at = DEQ(max_iterations=30, solver=solver), problem(inpainting(2), Tikhonov())
    for i in range(50):
        start = 1 + normal(2, 1, 2, 3, seed=i, dtype=dtype).abs()
        with torch.no_grad():
            solution = model.run(Steps((Mapped(diverging(i), start), at)))
        assert not solution.converged.any(), i
        assert (solution.error > model.accuracy).all() or (solution.residual > model.tol).all()
        if i % 5 == 3:
            assert solution.diverged.all() and solution.residual.isinf().all()
        assert solution.state.x.isfinite().all() or solution.diverged.all()


@pytest.mark.parametrize("on_divergence", ["warn", "error", "phantom"])
def test_a_gradient_that_was_not_reached_is_never_silent(on_divergence: str):
    A = inpainting()
    backward = Implicit(1e-10, 1.0, 2, Anderson(), on_divergence)
    net = reconstructor(PGD(lambda_reg=0.01), DEQ(tol=1e-6, max_iterations=99, backward=backward))
    solution = net.solve(measured(A), A)
    words = r"not reached for 1 of 1 images: residual .* after 2 products, 1.0e-10 expected"
    if on_divergence == "error":
        with pytest.raises(ConvergenceError, match=words):
            weighted_loss(solution.image).backward()
    else:
        with pytest.warns(ConvergenceWarning, match=words):
            weighted_loss(solution.image).backward()
        assert not solution.backward.converged.any() and (solution.backward.iterations == 2).all()


def test_where_the_gradient_is_not_reached_the_phantom_one_can_stand_in():
    A = spread()
    y = measured(A)
    grads = []
    short = Implicit(1e-10, 1.0, 2, on_divergence="phantom")
    for backward in (short, Phantom(), replace(short, on_divergence="warn")):
        model = DEQ(tol=1e-13, max_iterations=300, backward=backward)
        net = reconstructor(PGD(lambda_reg=0.05), model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            grads.append(gradients(net, y.clone().requires_grad_(), A)[0])
    assert worst(grads[0], grads[1]) < 1e-9 < 1e-2 < worst(grads[2], grads[1])


def test_an_equilibrium_too_far_for_its_gradient_is_reported():
    A = spread()
    backward = Implicit(tol=1e-8, max_iterations=99)
    loose = DEQ(tol=1e-3, accuracy=1.0, max_iterations=99, backward=backward)
    for model, words in (
        (loose, r"that was differentiated has an estimated error of .*, .* 8.0e-03 is expected"),
        (replace(loose, backward=replace(backward, on_divergence="error")), "Lower DEQ.tol"),
    ):
        net = reconstructor(PGD(lambda_reg=0.005), model)
        image = net(measured(A), A)
        strict = pytest.raises(ConvergenceError, match=words)
        told = pytest.warns(ConvergenceWarning, match=words)
        with told if model is loose else strict:
            weighted_loss(image).backward()
