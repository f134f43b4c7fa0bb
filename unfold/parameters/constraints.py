"""Sets that a parameter stays in while it is learned, by reparametrisation.

A learned parameter is stored as an unconstrained `raw_<name>` and read through `from_raw`; nothing
has to be clamped after a step of the optimiser.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.errors import ConfigError


class Constraint(ABC):
    """A set of real numbers and a smooth bijection from the real line onto its interior."""

    @abstractmethod
    def holds(self, value: Tensor) -> bool:
        """Whether every entry lies in the set, its boundary included where it has one."""

    @abstractmethod
    def spans(self, low: float, high: float) -> bool:
        """Whether (low, high) lies inside the set."""

    @abstractmethod
    def to_raw(self, value: Tensor) -> Tensor:
        """The raw parameter of `value`; a value on the boundary moves just inside."""

    @abstractmethod
    def from_raw(self, raw: Tensor) -> Tensor:
        """The value of the raw parameter."""

    @abstractmethod
    def __str__(self) -> str:
        """The set, for messages: "must be positive"."""


@dataclass(frozen=True)
class Positive(Constraint):
    """(0, ∞) by value = exp(raw): a step of the optimiser is a relative change at any magnitude.

    Args:
        closed: whether 0 belongs to it; a learned value starts at 1e-6 or above.
    """

    closed: bool = False

    def holds(self, value: Tensor) -> bool:
        inside = value >= 0 if self.closed else value > 0
        return bool((inside & value.isfinite()).all())

    def spans(self, low: float, high: float) -> bool:
        return low >= 0

    def to_raw(self, value: Tensor) -> Tensor:
        return (value.clamp(min=1e-6) if self.closed else value).log()

    def from_raw(self, raw: Tensor) -> Tensor:
        return raw.exp()

    def __str__(self) -> str:
        return "zero or positive" if self.closed else "positive"


@dataclass(frozen=True)
class Interval(Constraint):
    """[low, high] by value = low + (high − low) · sigmoid(raw).

    A learned value on the boundary starts 1e-4 of the width inside, where the gradient lives.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(
                f"An interval needs finite low < high, got [{self.low}, {self.high}]."
            )

    def holds(self, value: Tensor) -> bool:
        return bool(((value >= self.low) & (value <= self.high)).all())

    def spans(self, low: float, high: float) -> bool:
        return self.low <= low and high <= self.high

    def to_raw(self, value: Tensor) -> Tensor:
        fraction = (value - self.low) / (self.high - self.low)
        return torch.logit(fraction.clamp(1e-4, 1 - 1e-4))

    def from_raw(self, raw: Tensor) -> Tensor:
        value = self.low + (self.high - self.low) * raw.sigmoid()
        return value.clamp(self.low, self.high)  # rounding may lead just outside

    def __str__(self) -> str:
        return f"in [{self.low:g}, {self.high:g}]"


@dataclass(frozen=True)
class Real(Constraint):
    """Any finite number."""

    def holds(self, value: Tensor) -> bool:
        return bool(value.isfinite().all())

    def spans(self, low: float, high: float) -> bool:
        return True

    def to_raw(self, value: Tensor) -> Tensor:
        return value

    def from_raw(self, raw: Tensor) -> Tensor:
        return raw

    def __str__(self) -> str:
        return "finite"


positive = Positive()
nonnegative = Positive(closed=True)
real = Real()
