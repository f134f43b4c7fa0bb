"""What a component accepts, declared once with each field.

    factor: int = bounded(2, at_least(1), "pixels")
    sigma: Level = bounded(0.03, nonnegative, "in units of an image in [0, 1]", level=True)

`Declared` refuses other values when a component is made; messages, `unfold explain` and the
documentation read the same declaration through `bounds_of`.
"""

import dataclasses
import math
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from operator import le, lt
from typing import Any, NamedTuple

from unfold.errors import ConfigError, DataWarning, nearest

KEY = "unfold.bound"
"""Where the metadata of a field holds its bound."""


class Range(NamedTuple):
    """A set of values, and its text after "must be"."""

    text: str
    holds: Callable[[Any], bool]
    allowed: tuple[str, ...] = ()


class Bound(NamedTuple):
    """What a field, or every entry of a sequence, accepts, as `bounded` declares it."""

    range: Range
    note: str
    level: bool

    def __str__(self) -> str:
        return f"{self.range.text}, {self.note}" if self.note else self.range.text


positive = Range("positive", lambda v: 0 < v < math.inf)
nonnegative = Range("zero or positive", lambda v: 0 <= v < math.inf)
tolerance = Range("positive", lambda v: v > 0)  # infinite where it is not asked for
finite = Range("finite", math.isfinite)


def at_least(low: float | int) -> Range:
    """[low, ∞)."""
    return Range(f"at least {low:g}", lambda v: low <= v < math.inf)


def above(low: float | int) -> Range:
    """(low, ∞)."""
    return Range(f"above {low:g}", lambda v: low < v < math.inf)


def inside(interval: str) -> Range:
    """An interval as mathematics writes it: `inside("(0, 1]")`."""
    found = re.fullmatch(r"([\[(])\s*(\S+)\s*,\s*(\S+)\s*([\])])", interval)
    assert found is not None, interval
    low, high = float(found[2]), float(found[3])
    above, below = le if found[1] == "[" else lt, le if found[4] == "]" else lt
    return Range(f"in {interval}", lambda v: above(low, v) and below(v, high))


def whole(low: int, high: int | None = None) -> Range:
    """Whole numbers from `low` on, up to `high` where it is given; `True` is not a number."""
    text = f"of at least {low}" if high is None else f"from {low} to {high}"
    top = math.inf if high is None else high

    def holds(v: Any) -> bool:
        return not isinstance(v, bool) and math.isfinite(v) and v == int(v) and low <= v <= top

    return Range(f"a whole number {text}", holds)


def one_of(*names: str) -> Range:
    """A set of names."""
    return Range(f"one of {sorted(names)}", lambda v: v in names, names)


_REQUIRED = dataclasses.MISSING

LOG = "log"
"""Ends a range of which the logarithm is uniform."""


class LogRange(tuple[float, float]):
    """(low, high) of a number whose logarithm is uniform between theirs."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"[{self[0]:g}, {self[1]:g}, {LOG}]"


def bounded(
    default: Any = _REQUIRED,
    accepted: Range = finite,
    note: str = "",
    *,
    level: bool = False,
    kw_only: Any = _REQUIRED,
) -> Any:
    """Declare a field of a `Declared` dataclass: its default and the values that it accepts.

    `note` is the unit or the meaning, which ends the message. With `level`, (low, high) and
    (low, high, log) are also accepted; a number becomes a float, a range a pair.
    """
    metadata = {KEY: Bound(accepted, note, level)}
    return dataclasses.field(default=default, metadata=metadata, kw_only=kw_only)


@cache
def declared(kind: Any, key: str) -> dict[str, Any]:
    """What the fields of a dataclass declare under a key of their metadata, by name."""
    known = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    return {f.name: f.metadata[key] for f in known if key in f.metadata}


def bounds_of(kind: Any) -> dict[str, Bound]:
    """The bounds that a class declares, by field."""
    return declared(kind, KEY)


def check_bounds(component: object) -> None:
    """Refuse a value outside its declared bound; sequences become tuples.

    Raises:
        ConfigError: `Class.field = value: must be …`, with the nearest name of a set of names.
    """
    kind: Any = type(component)
    for name, bound in bounds_of(kind).items():
        value = getattr(component, name)
        if value is None and "None" in str(kind.__dataclass_fields__[name].type):
            continue
        if _is_tensor(value) or dataclasses.is_dataclass(value):
            continue  # tensors would synchronize; components have their own bounds
        accepted = check_value(f"{kind.__name__}.{name}", value, bound)
        if accepted is not value:
            object.__setattr__(component, name, accepted)


def check_value(name: str, value: Any, bound: Bound) -> Any:
    """The value as its component stores it: a level as a float or a pair, a sequence as a tuple.

    Raises:
        ConfigError: it is outside the bound, or a range out of order.
    """
    several = isinstance(value, Sequence) and not isinstance(value, str)
    entries = tuple(value) if several else (value,)
    log = bound.level and (isinstance(value, LogRange) or entries[-1:] == (LOG,))
    entries = tuple(entry for entry in entries if not (log and entry == LOG))
    if not all(_holds(bound.range, entry) for entry in entries):
        near = nearest(str(value), bound.range.allowed) if bound.range.allowed else "."
        shown = repr(value) if isinstance(value, str) else list(value) if several else value
        raise ConfigError(f"{name} = {shown}: must be {bound}{near}")
    if not bound.level:
        return entries if several else value
    if not several:
        return float(value)
    if len(entries) != 2 or entries[0] > entries[1] or (log and not entries[0] > 0):
        raise ConfigError(
            f"{name} = {list(value)}: a range is two numbers, [low, high], low <= high, or "
            "[low, high, log] with low > 0."
        )
    low, high = map(float, entries)
    if low == high:
        return low
    return LogRange((low, high)) if log else (low, high)


def warn_of_eight_bits(name: str, level: float) -> None:
    """Warn of a standard deviation above 1: few mean it, of images in [0, 1]."""
    if level > 1:
        warnings.warn(
            f"{name} = {level:g} of images in [0, 1]; {level:g} of 255 is {level / 255:.4f}.",
            DataWarning,
            stacklevel=3,
        )


def check_order(component: Any) -> None:
    """Refuse `low` ≥ `high`."""
    low, high = component.low, component.high
    if not low < high:
        raise ConfigError(f"{type(component).__name__} needs low < high, got [{low}, {high}].")


def _is_tensor(value: object) -> bool:
    """Whether it is a tensor; the settings of a typo are read without importing PyTorch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _holds(accepted: Range, value: Any) -> bool:
    try:
        return bool(accepted.holds(value))
    except (TypeError, ValueError, OverflowError):
        return False


@dataclass(frozen=True)
class Declared:
    """Base of the dataclasses whose fields declare what they accept."""

    def __post_init__(self) -> None:
        check_bounds(self)
