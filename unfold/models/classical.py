"""The textbook algorithm, run until it is done; no gradients."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from unfold.algorithms.algorithm import Algorithm
from unfold.models.model import ConvergenceCheck, Model, Pair, Solution, Steps, change
from unfold.parameters.bounds import at_least, bounded, tolerance
from unfold.problem import Problem
from unfold.pytree import take, tensors, with_tensors
from unfold.solvers.amplification import SPAN, Amplification
from unfold.solvers.fixed_point import pack
from unfold.typing import Image, PerImage


@dataclass(frozen=True)
class Classical(Model):
    """s⁺ = step(s) until the duality gap, or else the estimated error, is below `tol`.

    The duality gap, relative to the objective, is used where the algorithm knows it. Elsewhere it
    is κ‖T(s) − s‖ / ‖T(s)‖ with the amplification κ of residuals, estimated from the iterates: the
    size of a step by itself does not tell how far the limit is.

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
        state = algorithm.init(problem)
        batch = algorithm.image(state).shape[0]
        end, amplification = _Progress.start(state, batch), Amplification(pack(state), SPAN)
        images, history = [algorithm.image(state)], list[ConvergenceCheck]()
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
            found = {"residual": change(pack(before), pack(state))}
            if (gap := algorithm.relative_gap(state, problem)) is not None:
                found["gap"] = gap
            else:
                found["error"] = _error(amplification, active, (algorithm, problem), before, state)
            end = end.put(active, state).check(active, k, found, self.tol)
            history.append(ConvergenceCheck(k, end.residual, end.gap))
            left = (~(end.converged | end.diverged)[active]).nonzero().flatten()
            if len(left) == 0:
                break
            if len(left) < len(active):
                # The images that are done leave the batch, and cost nothing any more.
                parts = (algorithm, problem, state)
                algorithm, problem, state = take(parts, left, len(active))
                active = active[left]
        kept = tuple(images) if steps.keep_iterates else ()
        return end.solution(steps.at(0)[0], kept)._replace(history=tuple(history))


def objective(algorithm: Algorithm[Any], problem: Problem, x: Image) -> PerImage:
    """f + λg of each image; g must have a value."""
    lam = getattr(algorithm, "lambda_reg", 1.0)
    weight = lam.flatten() if isinstance(lam, Tensor) else lam
    value: Tensor = problem.f.value(x) + weight * problem.g.value(x)
    return value


def _error(
    amplification: Amplification, active: Tensor, pair: Pair, before: Any, state: Any
) -> Tensor:
    """The estimated ‖s − s*‖ / ‖T(s)‖ of the active images, (B,)."""
    algorithm, problem = pair
    rest = algorithm.at_rest(state)
    # A step with momentum is small wherever it turns, however far the limit is.
    z, Tz = (before, state) if rest is state else (rest, algorithm.step(rest, problem))
    kappa = amplification.after(pack(z), pack(Tz) - pack(z), active)
    step = change(pack(z), pack(Tz))
    return torch.where(step == 0, 0, kappa * step)


class _Progress(NamedTuple):
    """State of the whole batch: final for finished samples, newest for the others."""

    state: Any
    residual: Tensor
    error: Tensor
    gap: Tensor
    iterations: Tensor
    converged: Tensor
    diverged: Tensor

    @staticmethod
    def start(state: Any, batch: int) -> "_Progress":
        device = tensors(state)[0].device
        infinite = torch.full((batch,), torch.inf, device=device)
        no = torch.zeros(batch, dtype=torch.bool, device=device)
        count = torch.zeros_like(no, dtype=torch.long)
        return _Progress(state, infinite, infinite, infinite, count, no, no)

    def put(self, active: Tensor, state: Any) -> "_Progress":
        """The newest state of the active images and the final one of the others."""
        pairs = zip(tensors(self.state), tensors(state), strict=True)
        values = [old.index_copy(0, active, new) for old, new in pairs]
        return self._replace(state=with_tensors(self.state, values))

    def check(self, active: Tensor, k: int, found: dict[str, Tensor], tol: float) -> "_Progress":
        """With the residual of the active images, and their gap or else their estimated error."""
        found = {name: values.to(self.gap.dtype) for name, values in found.items()}
        measure = found.get("gap", found.get("error", found["residual"]))
        # No slope is known at the first check, so that an estimated error is infinite.
        finite = found["residual"].isfinite() & ~measure.isnan()
        finite = finite & (measure.isfinite() | ("error" in found))
        new = {name: getattr(self, name).index_copy(0, active, v) for name, v in found.items()}
        return self._replace(
            **new,
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
            error=self.error if gap is None else None,
        )
