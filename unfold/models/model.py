"""The contract of a model: how a step is repeated, and how it is differentiated."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from unfold.algorithms.algorithm import Algorithm
from unfold.parameters.bounds import Declared
from unfold.problem import Problem
from unfold.pytree import batched_norm
from unfold.random import Draws
from unfold.solvers.implicit import BackwardReport
from unfold.typing import Field, Image, Measurement, PerImage


class ConvergenceCheck(NamedTuple):
    """Convergence record of the whole batch at one iteration, including converged samples.

    iteration: steps taken.
    residual: ‖T(s) − s‖ / ‖T(s)‖, (B,).
    gap: relative duality gap, (B,); infinite where the algorithm does not know it.
    """

    iteration: int
    residual: Tensor
    gap: Tensor


class Solution(NamedTuple):
    """What a model found, with its certificate per image.

    image: read out of the state.
    state: the last state.
    residual: ‖T(s) − s‖ / ‖T(s)‖ of the last step, (B,); of the image only when unfolded.
    iterations: steps taken, (B,).
    converged: whether the tolerance was reached, (B,); None where none is asked for.
    gap: duality gap relative to the objective, (B,); None where the algorithm does not know it.
    iterates: the image before the first step and after every one, where asked for.
    backward: how the backward solve ended, once the gradient was taken.
    diverged: whether the iterates left the finite numbers, (B,); None where it is not tested.
    error: the estimated relative error of the state, (B,); None where a gap is known instead, or
        nothing is estimated.
    penalty: what the model adds to the loss; None where nothing.
    history: the convergence checks of a classical algorithm.
    """

    image: Image
    state: Any
    residual: Tensor
    iterations: Tensor
    converged: Tensor | None = None
    gap: Tensor | None = None
    iterates: tuple[Image, ...] = ()
    backward: BackwardReport | None = None
    diverged: Tensor | None = None
    error: Tensor | None = None
    penalty: Tensor | None = None
    history: tuple[ConvergenceCheck, ...] = ()


Pair = tuple[Algorithm[Any], Problem]
"""What one iteration is made of."""


@dataclass(frozen=True)
class Steps:
    """The steps of one reconstruction; those that differ are made when their turn comes.

    Args:
        first: the algorithm and the problem of iteration 0.
        later: gives those of iteration k; None where every iteration is like the first.
        keep_iterates: whether the solution holds the first image and that after every step.
        draws: of a random part of the loss, such as a penalty; without them there is none.
        penalizes: whether a prior of some iteration adds a penalty to the loss of a training.
        iterations: how many an unfolded model takes; None for all of its own.
    """

    first: Pair
    later: Callable[[int], Pair] | None = None
    keep_iterates: bool = False
    draws: Draws | None = None
    penalizes: bool = False
    iterations: int | None = None

    def at(self, k: int) -> Pair:
        """The algorithm and the problem of iteration k."""
        return self.first if k == 0 or self.later is None else self.later(k)

    def step(self, k: int, state: Any) -> Any:
        """The k-th step."""
        algorithm, problem = self.at(k)
        return algorithm.step(state, problem)

    def penalty(self, k: int, state: Any) -> Tensor | None:
        """What the k-th step adds to the loss of a training; None where nothing."""
        if not self.penalizes or self.draws is None or not torch.is_grad_enabled():
            return None
        algorithm, problem = self.at(k)
        return algorithm.penalty(state, problem)


@dataclass(frozen=True)
class Model(Declared, ABC):
    """How a step is repeated; three of them exist, and no algorithm knows which."""

    trains: ClassVar[bool] = True
    """Whether parameters can be learned through it."""

    needs_contraction: ClassVar[bool] = False
    """Whether it needs the form of the prior made for equilibria."""

    @property
    def refuses_inexact_gradients(self) -> bool:
        """Whether a gradient that was not reached raises its own error."""
        return False

    @property
    def count(self) -> int | None:
        """How many iterations may have independent values; None where they share them."""
        return None

    @property
    def horizon(self) -> int | None:
        """For how many iterations a schedule is read; None where it cannot be followed."""
        return self.count

    def solve_tolerance(self, y: Measurement) -> float | None:
        """Relative residual that this model needs of linear solves; None for the solver's own."""
        return None

    @abstractmethod
    def run(self, steps: Steps) -> Solution:
        """Repeat the steps."""


@torch.no_grad()
def change(before: Field, after: Field) -> PerImage:
    """‖after − before‖ / ‖after‖ per sample; 0 where nothing changed, 1 where 0 was reached."""
    tiny, size = torch.finfo(after.dtype).tiny, batched_norm(after)
    size = torch.where(size == 0, batched_norm(before), size)
    return batched_norm(after - before) / size.clamp(min=tiny)
