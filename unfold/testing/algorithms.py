"""Properties of an algorithm: a pure step, an honest flag, and the minimiser it claims."""

import copy
import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from unfold.algorithms.algorithm import Algorithm
from unfold.compatibility import check_needs
from unfold.errors import ConfigError
from unfold.fidelities.fidelity import Fidelity
from unfold.fidelities.l2 import L2
from unfold.fidelities.poisson import PoissonFidelity
from unfold.models.classical import Classical, objective
from unfold.models.model import Solution, Steps
from unfold.physics.blur.convolution import CircularConvolution
from unfold.physics.mri.cartesian import MultiCoilFourier
from unfold.priors.box import Box
from unfold.priors.composite import Sum
from unfold.priors.l1 import L1
from unfold.priors.prior import Prior
from unfold.priors.tikhonov import Tikhonov
from unfold.priors.tv import TV
from unfold.problem import Problem
from unfold.pytree import batched_norm, per_image, take, tensors
from unfold.reconstructor import Reconstructor
from unfold.testing.proximal import gaussian
from unfold.testing.report import Check, Report, holds, report


def check_algorithm(
    algorithm: Algorithm[Any], problem: Problem, *, tol: float = 1e-9, max_iterations: int = 20_000
) -> Report:
    """AL2, AL6 and AL7, the purity of the step, and, where it is claimed, the minimiser.

    Args:
        algorithm: with absolute steps inside its proven range.
        problem: in float64, of two images or more with g given as the algorithm needs it.
        tol: relative residual at which it counts as converged.
        max_iterations: steps at most.
    """
    subject = (
        f"{type(algorithm).__name__} with {type(problem.f.fidelity).__name__} and "
        f"{type(problem.g).__name__}"
    )
    return report(subject, _properties(algorithm, problem, tol, max_iterations))


@torch.no_grad()
def _properties(
    algorithm: Algorithm[Any], problem: Problem, tol: float, most: int
) -> Iterator[Check]:
    yield from pure(algorithm, problem)
    claimed = algorithm.guarantee(problem).holds
    model = Classical(tol=tol, max_iterations=most if claimed else min(most, 200))
    solution = model.run(Steps((algorithm, problem)))
    yield from honest(algorithm, problem, solution, tol)
    yield from batch_invariant(algorithm, problem, solution, model)
    reached = solution.converged is not None and bool(solution.converged.all())
    if claimed:
        yield holds("AL7", "it converges inside its proven range", reached)
        if algorithm.solves == Algorithm.solves and "value" in problem.g.offers() and reached:
            yield from optimal(algorithm, problem, solution)


def pure(algorithm: Algorithm[Any], problem: Problem) -> Iterator[Check]:
    """A step is deterministic bit by bit and modifies none of its inputs."""
    state = algorithm.step(algorithm.init(problem), problem)
    held = [t.clone() for t in (*tensors(state), problem.y, problem.start)]
    fields = copy.deepcopy(vars(algorithm))
    first, second = algorithm.step(state, problem), algorithm.step(state, problem)
    same = all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(second), strict=True))
    yield holds("AL0", "two steps from one state agree bitwise", same)
    after = (*tensors(state), problem.y, problem.start)
    kept = all(torch.equal(a, b) for a, b in zip(held, after, strict=True))
    yield holds("AL0", "a step changes nothing", kept and _equal(fields, vars(algorithm)))
    yield holds("AL0", "the state keeps its type", type(first) is type(state))
    shaped = algorithm.image(first).shape == problem.start.shape
    yield holds("AL0", "the image has the shape of the start", shaped)


def honest(
    algorithm: Algorithm[Any], problem: Problem, solution: Solution, tol: float
) -> Iterator[Check]:
    """Where `converged` is set, ten more steps hardly change the image."""
    assert solution.converged is not None
    state = solution.state
    for _ in range(10):
        state = algorithm.step(state, problem)
    image = algorithm.image(state)
    moved = batched_norm(image - solution.image) / batched_norm(image)
    false_claims = torch.where(solution.converged, moved, torch.zeros_like(moved))
    yield Check("AL2", "converged means converged", float(false_claims.max()), 1e3 * tol)
    finite = bool(image[solution.converged].isfinite().all())
    yield holds("AL2", "what converged is finite", finite)


def batch_invariant(
    algorithm: Algorithm[Any], problem: Problem, together: Solution, model: Classical
) -> Iterator[Check]:
    """A single image takes the same number of steps to the same result as in a batch."""
    batch = problem.start.shape[0]
    for i in range(batch):
        position = torch.tensor([i])
        one = take(problem, position, batch)
        solution = model.run(Steps((take(algorithm, position, batch), one)))
        size = float(solution.image.abs().max()) or 1.0
        error = float((solution.image - together.image[i]).abs().max()) / size
        yield Check("AL6", "independent of the batch", error, 1e-9)


def optimal(algorithm: Algorithm[Any], problem: Problem, solution: Solution) -> Iterator[Check]:
    """No point near the image has a smaller objective, to the second order of the distance."""
    value = partial(objective, algorithm, problem)
    x = solution.image
    least = value(x)
    worst = 0.0
    for i in range(100):
        size = (1e-2, 1e-3, 1e-4)[i % 3]
        noise = gaussian(*x.shape, seed=300 + i)
        direction = noise / per_image(batched_norm(noise), noise)
        drop = (least - value(x + size * direction)) / size
        worst = max(worst, float((drop / (1 + least.abs())).max()))
    yield Check("AL1", "no image nearby has a smaller objective", worst, 1e-6)


def _equal(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether the fields are as they were; networks are not compared."""
    pairs = [(value, after[name]) for name, value in before.items()]
    numbers = all(a == b for a, b in pairs if isinstance(a, int | float | str | None))
    return numbers and all(torch.equal(a, b) for a, b in pairs if isinstance(a, Tensor))


FIDELITIES: tuple[Fidelity, ...] = (L2(), PoissonFidelity(0.1))

PRIORS: tuple[Prior, ...] = (Tikhonov(), TV(), Sum((L1(), Box(-1.0, 2.0))), L1())


def problem_for(algorithm: Algorithm[Any]) -> tuple[Algorithm[Any], Problem]:
    """The algorithm with absolute steps, and a problem of two 8 × 8 images: deblurring, or of MRI.

    Raises:
        ConfigError: none of `FIDELITIES` and `PRIORS` fits it.
    """
    g = torch.Generator().manual_seed(3)
    h = torch.rand(2, 1, 3, 3, generator=g, dtype=torch.float64)
    h = 0.3 * h / h.sum((-2, -1), keepdim=True)
    h[..., 1, 1] += 0.7
    blur = CircularConvolution(h, (1, 8, 8))
    x = torch.rand(2, 1, 8, 8, generator=g, dtype=torch.float64)
    mask = (torch.arange(8) % 3 != 2).double().expand(2, 1, 1, 8)
    coils = MultiCoilFourier(mask, torch.complex(x, 1 - x).repeat(1, 2, 1, 1), (1, 8, 8))
    measured = (
        (blur, (blur.A(x) + 0.05 * gaussian(2, 1, 8, 8, seed=6)).abs()),
        (coils, coils.A(x.to(torch.complex128))),
    )
    errors: list[ConfigError] = []
    for (operator, y), fidelity, prior in itertools.product(measured, FIDELITIES, PRIORS):
        try:
            check_needs(algorithm, prior, fidelity)
            net = Reconstructor(algorithm, prior, fidelity, Classical()).double()
            found, problem = net.steps(y, operator).at(0)
            found.init(problem)
            return found, problem
        except ConfigError as error:
            errors.append(error)
    raise errors[0]
