"""The contract of an algorithm: scalars as fields, and one pure step."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from unfold.parameters.bounds import check_order
from unfold.parameters.declare import Recipe
from unfold.problem import Problem
from unfold.typing import Image, PerImage

S = TypeVar("S")


class ImageState(NamedTuple):
    """The current image: the state of an algorithm that keeps nothing else."""

    x: Image


class Guarantee(NamedTuple):
    """For which values convergence is known.

    condition: in the names of the fields, e.g. "0 < stepsize < 2/‖A‖²".
    holds: whether the current values satisfy it for every image.
    """

    condition: str
    holds: bool

    @staticmethod
    def when(condition: str, *facts: Tensor | bool) -> "Guarantee":
        """It holds where every fact does, for every image."""
        return Guarantee(condition, all(bool(torch.as_tensor(fact).all()) for fact in facts))


@dataclass(frozen=True)
class Algorithm(Recipe, ABC, Generic[S]):
    """A textbook iteration; its fields are its scalars, its state is a NamedTuple of tensors.

    `step` returns a new state and changes nothing; what depends on the iteration is a parameter,
    not state. All lengths of steps are absolute here; `Parameters` turns those given relative to
    ‖A‖² into absolute ones.
    """

    needs_f: ClassVar[frozenset[str]] = frozenset()
    """What it asks of the fidelity: `grad`, `prox`, `prox_conj`."""

    needs_g: ClassVar[frozenset[str]] = frozenset()
    """What it asks of the prior: `prox`, `grad`, `analysis`, `split`."""

    takes_nonlinear: ClassVar[bool] = False
    """Whether the operator reaches it only through ∇f, so that A need not be linear."""

    uses_g: ClassVar[bool] = True
    """Whether a prior reaches the result."""

    solves: ClassVar[str] = "f + λg"
    """What its limit minimises; another text where that is something else, or nothing."""

    @abstractmethod
    def init(self, problem: Problem) -> S:
        """The state to start from."""

    @abstractmethod
    def step(self, state: S, problem: Problem) -> S:
        """The next state."""

    def image(self, state: S) -> Image:
        """The image in the state, its field `x` by default; costs nothing."""
        x: Image = state.x  # type: ignore[attr-defined]
        return x

    @abstractmethod
    def guarantee(self, problem: Problem) -> Guarantee:
        """For which values it is known to converge when g is convex, and whether they hold."""

    def penalty(self, state: S, problem: Problem) -> Tensor | None:
        """What a step adds to the loss of a training: of a prior that `penalizes`, at its prox."""
        return None

    def at_rest(self, state: S) -> S:
        """The state without its momentum, from which a step measures the distance to the limit."""
        return state

    def relative_gap(self, state: S, problem: Problem) -> PerImage | None:
        """The duality gap at the state relative to the objective, where the algorithm knows it."""
        return None


@dataclass(frozen=True)
class ImageAlgorithm(Algorithm[ImageState]):
    """An algorithm whose state is the image, x₀ at first."""

    def init(self, problem: Problem) -> ImageState:
        return ImageState(x=problem.start)


@dataclass(frozen=True)
class LearnedAlgorithm(Algorithm[S]):
    """An algorithm whose networks stand for all that a prior would do."""

    uses_g = False
    solves = "what it learns to"

    def guarantee(self, problem: Problem) -> Guarantee:
        return Guarantee("none: nothing is known of learned networks", False)


@dataclass(frozen=True)
class BoxAlgorithm(Algorithm[S]):
    """An algorithm over the images in [low, high], complex ones with |x| ≤ high.

    Args:
        low: smallest intensity; not of complex images.
        high: largest intensity.
    """

    solves = "f + λg over the images in [low, high]"

    low: float = field(default=0.0, kw_only=True)
    high: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_order(self)

    def clip(self, x: Image) -> Image:
        """The nearest image of the set."""
        if not x.is_complex():
            return x.clamp(self.low, self.high)
        return x * (self.high / x.abs().clamp(min=self.high))

    def support(self, v: Image) -> Tensor:
        """sup Re v̄x over the set, of each pixel."""
        if not v.is_complex():
            return torch.maximum(self.low * v, self.high * v)
        return self.high * v.abs()


def proven(algorithm: Algorithm[Any], problem: Problem) -> Guarantee:
    """The guarantee of the algorithm; none where A is not linear, so that f need not be convex."""
    if problem.f.operator.linear:
        return algorithm.guarantee(problem)
    return Guarantee("none: the operator is not linear, so that no range is proven", False)


def largest(value: object) -> float:
    """The largest entry of a scalar field, for conditions."""
    return float(torch.as_tensor(value).detach().max())


def smallest(value: object) -> float:
    """The smallest entry of a scalar field."""
    return float(torch.as_tensor(value).detach().min())


def curvature(problem: Problem, lam: object) -> PerImage:
    """L_f + λL_g, a Lipschitz constant of ∇f + λ∇g; infinite where none is known."""
    return problem.lipschitz + flat(lam) * flat(problem.g.lipschitz)


def flat(value: object) -> Tensor:
    """A scalar field as a number, or as one per image, to compare with ‖A‖² per image."""
    number = torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.float64)
    return number.detach().flatten() if number.ndim else number.detach()
