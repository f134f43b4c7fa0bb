"""The contract of a model: how a step is repeated, and how it is differentiated."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from unfold.algorithms.algorithm import Algorithm
from unfold.problem import Problem
from unfold.solvers.implicit import BackwardReport
from unfold.tree import batched_norm
from unfold.typing import Field, Image, PerImage


class Solution(NamedTuple):
    """What a model found, with its certificate per image.

    image: read out of the state.
    state: the last state.
    residual: ‖T(s) − s‖ / ‖T(s)‖ of the last step, (B,); of the image alone when unfolded.
    iterations: steps taken, (B,).
    converged: whether the tolerance was reached, (B,); None where none is asked for.
    gap: duality gap relative to the objective, (B,); None where the algorithm does not know it.
    iterates: the image after every step, where asked for.
    backward: how the backward solve ended, once the gradient was taken.
    """

    image: Image
    state: Any
    residual: Tensor
    iterations: Tensor
    converged: Tensor | None = None
    gap: Tensor | None = None
    iterates: tuple[Image, ...] = ()
    backward: BackwardReport | None = None


Pair = tuple[Algorithm[Any], Problem]
"""What one iteration is made of."""


@dataclass(frozen=True)
class Steps:
    """The steps of one reconstruction; those that differ are made when their turn comes.

    Args:
        first: the algorithm and the problem of iteration 0.
        later: gives those of iteration k; None where every iteration is like the first.
    """

    first: Pair
    later: Callable[[int], Pair] | None = None

    def at(self, k: int) -> Pair:
        """The algorithm and the problem of iteration k."""
        return self.first if k == 0 or self.later is None else self.later(k)

    def step(self, k: int, state: Any) -> Any:
        """The k-th step."""
        algorithm, problem = self.at(k)
        return algorithm.step(state, problem)


@dataclass(frozen=True)
class Model(ABC):
    """How a step is repeated; three of them exist, and no algorithm knows which."""

    trains: ClassVar[bool] = True
    """Whether parameters can be learned through it."""

    needs_contraction: ClassVar[bool] = False
    """Whether it needs the form of the prior made for equilibria."""

    @property
    def count(self) -> int | None:
        """How many iterations may have values of their own; None where they share them."""
        return None

    @property
    def horizon(self) -> int | None:
        """For how many iterations a schedule is read; None where it cannot be followed."""
        return self.count

    @abstractmethod
    def run(self, steps: Steps, *, keep_iterates: bool = False) -> Solution:
        """Repeat the steps from the algorithm's initial state."""


@torch.no_grad()
def change(before: Field, after: Field) -> PerImage:
    """‖after − before‖ / ‖after‖ per sample; 0 where nothing changed."""
    tiny = torch.finfo(after.dtype).tiny
    return batched_norm(after - before) / batched_norm(after).clamp(min=tiny)
