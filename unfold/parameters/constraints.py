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

    low: float = -math.inf
    high: float = math.inf
    closed: bool = True
    """Whether a finite end belongs to the set."""

    def holds(self, value: Tensor) -> bool:
        """Whether every entry is finite and lies in the set."""
        above = value >= self.low if self.closed else value > self.low
        return bool((above & (value <= self.high) & value.isfinite()).all())

    def spans(self, low: float, high: float) -> bool:
        """Whether (low, high) lies inside the set."""
        return self.low <= low and high <= self.high

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
    low = 0.0

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

    def to_raw(self, value: Tensor) -> Tensor:
        return value

    def from_raw(self, raw: Tensor) -> Tensor:
        return raw

    def __str__(self) -> str:
        return "finite"


@dataclass(frozen=True)
class Simplex(Constraint):
    """h ≥ 0 with Σ h = 1 over the last two axes, by h = softmax(raw).

    A learned zero starts at a thousandth of the mean entry, from where a gradient reaches it.
    """

    low = math.nan  # so that no interval lies inside

    def holds(self, value: Tensor) -> bool:
        total = value.sum((-2, -1))
        return bool((value >= 0).all() and torch.isclose(total, torch.ones_like(total)).all())

    def to_raw(self, value: Tensor) -> Tensor:
        return value.clamp(min=1e-3 / value.shape[-2:].numel()).log()

    def from_raw(self, raw: Tensor) -> Tensor:
        return raw.flatten(-2).softmax(-1).reshape(raw.shape)

    def __str__(self) -> str:
        return "zero or positive, of sum 1"


@dataclass(frozen=True)
class Complex(Constraint):
    """Any finite complex number, stored as a pair of real ones."""

    low = math.nan  # so that no interval lies inside

    def holds(self, value: Tensor) -> bool:
        return bool(value.isfinite().all())

    def to_raw(self, value: Tensor) -> Tensor:
        return torch.view_as_real(value.resolve_conj())

    def from_raw(self, raw: Tensor) -> Tensor:
        return torch.view_as_complex(raw)

    def __str__(self) -> str:
        return "finite"


positive = Positive()
nonnegative = Positive(closed=True)
real = Real()
simplex = Simplex()
complex_numbers = Complex()
