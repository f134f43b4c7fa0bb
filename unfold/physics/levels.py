"""Levels: a number, or a range from which every image samples its own."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfold.errors import ConfigError
from unfold.parameters.bounds import Declared, LogRange, bounds_of
from unfold.random import Draws

Level = float | int | Sequence[float | int | str]
"""A number, or (low, high): uniform on that range, one value per image.

With (low, high, "log") its logarithm is uniform.
"""


def scaled(level: Level, factor: float) -> Level:
    """The same level, or range, times a positive factor."""
    if isinstance(level, float | int):
        return factor * level
    ends = (factor * float(level[0]), factor * float(level[1]))
    return LogRange(ends) if isinstance(level, LogRange) else ends


def shown_level(level: Level) -> str:
    """The number, or `low to high`."""
    ends = [level] if isinstance(level, float | int) else level[:2]
    return " to ".join(f"{float(end):g}" for end in ends)


def half_and_twice(physics: Any, paths: Sequence[str]) -> dict[str, Any]:
    """A component with half and with twice each of some fields, by what differs, where accepted."""
    found: dict[str, Any] = {}
    for place, _, name in (path.rpartition(".") for path in paths):
        owner: Any = getattr(physics, place) if place else physics
        value: Any = getattr(owner, name, None)
        for factor in (0.5, 2.0) if value is not None else ():
            with suppress(ConfigError):
                counted = isinstance(value, int)
                other = max(1, round(factor * value)) if counted else scaled(value, factor)
                changed = replace(owner, **{name: other})
                text = f"{name} {shown_level(other)}"
                found[text] = replace(physics, **{place: changed}) if place else changed
    return found


def sample_level(level: Level, draws: Draws, name: str) -> float | Tensor:
    """The number itself, or (B,) from the range, one value per image."""
    if isinstance(level, float | int):
        return float(level)
    low, high = map(float, level[:2])
    if isinstance(level, LogRange):
        return draws.uniform(name, (), math.log(low), math.log(high)).exp().clamp(low, high)
    return draws.uniform(name, (), low, high)


def level_per_image(level: Level, draws: Draws, name: str) -> np.ndarray:
    """(B,): the value of every image, as `sample_level` gives it for these draws."""
    return np.broadcast_to(np.asarray(sample_level(level, draws, name)), len(draws))


def level_column(level: Level, draws: Draws, name: str) -> Tensor:
    """(B, 1, 1, 1), or (1, 1, 1, 1) where the level is a number."""
    value = sample_level(level, draws, name)
    if isinstance(value, Tensor):
        return value.reshape(-1, 1, 1, 1)
    return torch.full((1, 1, 1, 1), value, dtype=draws.dtype, device=draws.device)


def level_names(component: Declared) -> list[str]:
    """The fields of a component that are declared as levels."""
    kind: Any = type(component)
    return [name for name, bound in bounds_of(kind).items() if bound.level]


def all_numbers(component: Declared) -> bool:
    """Whether no level of a component is a range."""
    return all(isinstance(getattr(component, name), float | int) for name in level_names(component))
