"""The textbook algorithm, run until it is done; no gradients."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from unfold.algorithms.algorithm import Algorithm
from unfold.models.model import ConvergenceCheck, Model, Solution, Steps, begin, change
from unfold.parameters.bounds import at_least, bounded, tolerance
from unfold.problem import Problem
from unfold.pytree import take, tensors, with_tensors
from unfold.solvers.fixed_point import pack
from unfold.typing import Image


@dataclass(frozen=True)
class Classical(Model):
    """s⁺ = step(s) until the duality gap, or else the relative residual, is below `tol`.

    The duality gap, relative to the objective, is used where the algorithm knows it.

    Args:
        tol: the tolerance.
        max_iterations: steps at most.
        every: steps between two convergence checks.
    """

    trains: ClassVar[bool] = False

    tol: float = bounded(1e-4, tolerance)
    max_iterations: int = bounded(1000, at_least(1))
    every: int = bounded(20, at_least(1))

    @property
    def horizon(self) -> int | None:
        return self.max_iterations

    @torch.no_grad()
    def run(self, steps: Steps) -> Solution:
        algorithm, problem = steps.at(0)
        state = begin(algorithm, problem, steps.start)
        batch = algorithm.image(state).shape[0]
        end = _Progress.start(state, batch)
        images, history = [algorithm.image(state)], list[ConvergenceCheck]()
        first = steps.at(0)
        active = torch.arange(batch, device=images[0].device)
        for k in range(1, self.max_iterations + 1):
            if steps.later is not None:
                pair = steps.at(k - 1)
                algorithm, problem = pair if len(active) == batch else take(pair, active, batch)
            before, state = state, algorithm.step(state, problem)
            if steps.keep_iterates:
                images.append(algorithm.image(end.put(active, state).state))
            if k % self.every and k < self.max_iterations:
                continue
            end = end.check(active, before, state, k, algorithm, problem, self.tol)
            value = _objective(*first, images[-1]) if steps.keep_iterates else None
            history.append(ConvergenceCheck(k, end.residual, end.gap, value))
            left = (~(end.converged | end.diverged)[active]).nonzero().flatten()
            if len(left) == 0:
                break
            if len(left) < len(active):
                # The images that are done leave the batch, and cost nothing any more.
                parts = (algorithm, problem, state)
                algorithm, problem, state = take(parts, left, len(active))
                active = active[left]
        kept = tuple(images) if steps.keep_iterates else ()
        return end.solution(first[0], kept)._replace(history=tuple(history))


def _objective(algorithm: Algorithm[Any], problem: Problem, x: Image) -> Tensor | None:
    """f + λg of each image; None where g has no value."""
    if "value" not in problem.g.offers():
        return None
    lam = getattr(algorithm, "lambda_reg", 1.0)
    weight = lam.flatten() if isinstance(lam, Tensor) else lam
    objective: Tensor = problem.f.value(x) + weight * problem.g.value(x)
    return objective


class _Progress(NamedTuple):
    """State of the whole batch: final for finished samples, newest for the others."""

    state: Any
    residual: Tensor
    gap: Tensor
    iterations: Tensor
    converged: Tensor
    diverged: Tensor

    @staticmethod
    def start(state: Any, batch: int) -> "_Progress":
        device = tensors(state)[0].device
        infinite = torch.full((batch,), torch.inf, device=device)
        no = torch.zeros(batch, dtype=torch.bool, device=device)
        return _Progress(state, infinite, infinite, torch.zeros_like(no, dtype=torch.long), no, no)

    def put(self, active: Tensor, state: Any) -> "_Progress":
        """The newest state of the active images and the final one of the others."""
        pairs = zip(tensors(self.state), tensors(state), strict=True)
        values = [old.index_copy(0, active, new) for old, new in pairs]
        return self._replace(state=with_tensors(self.state, values))

    def check(
        self,
        active: Tensor,
        before: Any,
        state: Any,
        k: int,
        algorithm: Algorithm[Any],
        problem: Problem,
        tol: float,
    ) -> "_Progress":
        """Measure how far the active images are."""
        residual = change(pack(before), pack(state)).to(self.residual.dtype)
        gap = algorithm.relative_gap(state, problem)
        measure = residual if gap is None else gap.to(self.gap.dtype)
        finite = measure.isfinite() & residual.isfinite()
        return self.put(active, state)._replace(
            residual=self.residual.index_copy(0, active, residual),
            gap=self.gap if gap is None else self.gap.index_copy(0, active, measure),
            iterations=self.iterations.index_fill(0, active, k),
            converged=self.converged.index_copy(0, active, finite & (measure <= tol)),
            diverged=self.diverged.index_copy(0, active, ~finite),
        )

    def solution(self, algorithm: Algorithm[Any], iterates: tuple[Image, ...]) -> Solution:
        """What the model returns; the gap only where the algorithm knows one."""
        gap = self.gap if bool(self.gap.isfinite().any()) else None
        image = algorithm.image(self.state)
        return Solution(
            image,
            self.state,
            self.residual,
            self.iterations,
            self.converged,
            gap,
            iterates,
            diverged=self.diverged,
        )
