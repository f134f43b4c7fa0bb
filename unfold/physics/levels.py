"""Levels: a number, or a range from which every image samples its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfold.parameters.bounds import Declared, bounds_of
from unfold.random import Draws

Level = float | int | Sequence[float | int]
"""A number, or (low, high): uniform on that range, one value per image."""


def sample_level(level: Level, draws: Draws, name: str) -> float | Tensor:
    """The number itself, or (B,) uniform on the range, one value per image."""
    if isinstance(level, float | int):
        return float(level)
    return draws.uniform(name, (), *level)


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
