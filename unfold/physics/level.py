"""Levels: a number, or a range from which every image draws its own."""

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from unfold.errors import ConfigError
from unfold.random import Draws

Level = float | int | Sequence[float | int]
"""A number, or (low, high): uniform on that range, one value per image."""


def checked(
    name: str, level: Level, holds: Callable[[float], bool], words: str
) -> float | tuple[float, float]:
    """The level as a float, or as a pair of different floats.

    Raises:
        ConfigError: it is neither, is not finite, is out of order, or `holds` refuses a value;
            the message begins with `name` and ends with `words`.
    """
    values = (level,) if isinstance(level, float | int) else tuple(level)
    if not all(math.isfinite(v) and holds(v) for v in values):
        raise ConfigError(f"{name} = {level}: {words}.")
    if len(values) == 1 and isinstance(level, float | int):
        return float(level)
    if len(values) != 2 or values[0] > values[1]:
        raise ConfigError(f"{name} = {level}: a range is two numbers, [low, high], low <= high.")
    low, high = float(values[0]), float(values[1])
    return low if low == high else (low, high)


def draw_level(level: Level, draws: Draws, name: str) -> float | Tensor:
    """The number itself, or (B,) uniform on the range, one value per image."""
    if isinstance(level, float | int):
        return float(level)
    return draws.uniform(name, (), *level)


def is_number(level: Level) -> bool:
    """Whether every image has the same value; for a level that `checked` has returned."""
    return isinstance(level, float | int)
