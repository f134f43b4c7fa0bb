"""The law of the sensitivities of receiver coils around an image."""

from dataclasses import replace

import numpy as np
from torch import Tensor

from unfold.errors import ConfigError
from unfold.random import Draws
from unfold.typing import Shape


def check_coils(owner: str, coils: int, width: float) -> None:
    """Refuse no coil, or bumps without a width.

    Raises:
        ConfigError: with the value.
    """
    if isinstance(coils, bool) or int(coils) != coils or coils < 1:
        raise ConfigError(f"{owner}.coils = {coils}: must be a whole number of at least 1.")
    if not 0 < width < float("inf"):
        raise ConfigError(f"{owner}.width = {width}: must be positive, in halves of the side.")


def draw_maps(draws: Draws, coils: int, spread: float, shape: Shape) -> Tensor:
    """(B, J, H, W), complex: Gaussian bumps on a circle about the image, of Σ |S_j|² = 1.

    Args:
        draws: turn the circle, and draw a phase of each coil that is linear in the pixels.
        coils: J.
        spread: standard deviation of a bump, in halves of the image's side.
        shape: of the image, (…, H, W).
    """
    height, width = shape[-2:]
    v, u = np.meshgrid(_axis(height), _axis(width), indexing="ij")

    def maps(g: np.random.Generator, _: int) -> np.ndarray:
        place = g.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(coils) / coils
        px, py = (1.2 * f(place)[:, None, None] for f in (np.cos, np.sin))
        bump = np.exp(-((u - px) ** 2 + (v - py) ** 2) / (2 * spread**2))
        offset, across, down = g.uniform(-np.pi, np.pi, (3, coils, 1, 1))
        phase = offset + (across * u + down * v) / 2
        return np.asarray(bump * np.exp(1j * phase) / np.sqrt((bump**2).sum(0)))

    return replace(draws, dtype=draws.dtype.to_complex()).each("maps", maps)


def _axis(size: int) -> np.ndarray:
    """The pixels from −1 to 1; a single one is at 0."""
    return np.linspace(-1, 1, size) if size > 1 else np.zeros(1)
