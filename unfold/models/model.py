"""The contract of a model: how a step is repeated, and how it is differentiated."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from unfold.algorithms.algorithm import Algorithm
from unfold.errors import ShapeError
from unfold.parameters.bounds import Declared
from unfold.problem import Problem
from unfold.pytree import batched_norm, map_tensors, tensors
from unfold.random import Draws
from unfold.solvers.implicit import BackwardReport
from unfold.typing import Field, Image, Measurement, PerImage


class ConvergenceCheck(NamedTuple):
    """Convergence record of the whole batch at one iteration, including converged samples.

    iteration: steps taken.
    residual: ‖T(s) − s‖ / ‖T(s)‖, (B,).
    gap: relative duality gap, (B,); infinite where the algorithm does not know it.
    objective: f + λg, (B,); None unless iterates are kept and g has a value.
    """

    iteration: int
    residual: Tensor
    gap: Tensor
    objective: Tensor | None


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
    contraction: the estimated spectral radius of the step's Jacobian, (B,); None if not asked for.
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
    contraction: Tensor | None = None
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
        start: the state to start from, of the algorithm's own kind; its initial state if None.
        draws: of a random part of the loss, such as a penalty; without them there is none.
    """

    first: Pair
    later: Callable[[int], Pair] | None = None
    keep_iterates: bool = False
    start: Any = None
    draws: Draws | None = None

    def at(self, k: int) -> Pair:
        """The algorithm and the problem of iteration k."""
        return self.first if k == 0 or self.later is None else self.later(k)

    def step(self, k: int, state: Any) -> Any:
        """The k-th step."""
        algorithm, problem = self.at(k)
        return algorithm.step(state, problem)


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


def begin(algorithm: Algorithm[Any], problem: Problem, start: Any) -> Any:
    """The state to start from: the given one, if it is of the algorithm's kind.

    Raises:
        ShapeError: the given state is of another algorithm, shape or dtype.
    """
    own = algorithm.init(problem)
    if start is None:
        return own
    want, got = (_signature(state) for state in (own, start))
    if want != got:
        raise ShapeError(
            f"The start is {got}, and {type(algorithm).__name__} needs {want}; pass "
            "Solution.state of the same algorithm and measurement."
        )
    return map_tensors(torch.Tensor.detach, start)


def _signature(state: object) -> str:
    held = tensors(state)
    parts = [f"{tuple(t.shape)} of {str(t.dtype).removeprefix('torch.')}" for t in held]
    return f"{type(state).__name__}({', '.join(parts)})"


@torch.no_grad()
def change(before: Field, after: Field) -> PerImage:
    """‖after − before‖ / ‖after‖ per sample; 0 where nothing changed, 1 where 0 was reached."""
    tiny, size = torch.finfo(after.dtype).tiny, batched_norm(after)
    size = torch.where(size == 0, batched_norm(before), size)
    return batched_norm(after - before) / size.clamp(min=tiny)
