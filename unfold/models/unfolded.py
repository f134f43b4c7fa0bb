"""Unfolding: K steps, differentiated end to end."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from unfold.errors import ConfigError
from unfold.models.model import Model, Solution, Steps, change
from unfold.parameters.bounds import Declared, at_least, bounded, inside
from unfold.pytree import tensors, with_tensors
from unfold.typing import Measurement


@dataclass(frozen=True)
class UnfoldedBackward(Declared, ABC):
    """What is kept of the steps for the backward pass."""

    @abstractmethod
    def step(self, step: Callable[[Any], Any], state: Any, remaining: int) -> Any:
        """Take one step; `remaining` counts this one and those after it."""


@dataclass(frozen=True)
class Full(UnfoldedBackward):
    """Every activation of every iteration: fastest, memory grows with K."""

    def step(self, step: Callable[[Any], Any], state: Any, remaining: int) -> Any:
        return step(state)


@dataclass(frozen=True)
class Checkpoint(UnfoldedBackward):
    """The iterates only; each step is recomputed in the backward pass. The same gradient.

    Source: Chen, Xu, Zhang and Guestrin, Training deep nets with sublinear memory cost, 2016.
    """

    def step(self, step: Callable[[Any], Any], state: Any, remaining: int) -> Any:
        if not torch.is_grad_enabled():
            return step(state)

        def on_tensors(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(tensors(step(with_tensors(state, list(values)))))

        kept = checkpoint(
            on_tensors, *tensors(state), use_reentrant=False, preserve_rng_state=False
        )
        return with_tensors(state, list(kept))


@dataclass(frozen=True)
class Truncated(UnfoldedBackward):
    """The gradient of the last steps only; the earlier ones leave no trace. An approximation.

    Args:
        steps: how many of the last steps are differentiated.
    """

    steps: int = bounded(1, at_least(1))

    def step(self, step: Callable[[Any], Any], state: Any, remaining: int) -> Any:
        if remaining > self.steps:
            with torch.no_grad():
                return step(state)
        return step(state)


@dataclass(frozen=True)
class Unfolded(Model):
    """s_{k+1} = step_k(s_k), k < K.

    Args:
        iterations: K, at least 1.
        backward: full, checkpoint or truncated.
        solve_tol: relative residual of the linear solves inside a step, in single precision, where
            operators have no closed form; double precision keeps its own. K steps do not need more:
            1e-6 takes half more operator calls to move images and gradients by 2e-4.
    """

    iterations: int = bounded(5, at_least(1))
    backward: UnfoldedBackward = field(default_factory=Full)
    solve_tol: float = bounded(5e-5, inside("(0, 1)"))

    def solve_tolerance(self, y: Measurement) -> float | None:
        """`solve_tol` in single precision."""
        return None if y.dtype.to_real() == torch.float64 else self.solve_tol

    @property
    def count(self) -> int | None:
        return self.iterations

    def run(self, steps: Steps) -> Solution:
        algorithm, problem = steps.at(0)
        state = algorithm.init(problem)
        images, penalties = [algorithm.image(state)], list[Tensor]()
        total = steps.iterations or self.iterations
        if steps.later is not None and total > self.iterations:
            raise ConfigError(
                f"iterations = {total}: the model has {self.iterations} (Unfolded.iterations), "
                "with values of their own; ask for at most as many."
            )
        for k in range(total):
            if (penalty := steps.penalty(k, state)) is not None:
                penalties.append(penalty)
            state = self.backward.step(partial(steps.step, k), state, total - k)
            images.append(algorithm.image(state))
            if not steps.keep_iterates:
                del images[:-2]
        count = torch.full((images[-1].shape[0],), total, device=images[-1].device)
        residual = change(images[-2], images[-1])
        kept = tuple(images) if steps.keep_iterates else ()
        penalty = torch.stack(penalties).sum() if penalties else None
        return Solution(images[-1], state, residual, count, iterates=kept, penalty=penalty)
