"""Dead leaves: images that have the statistics of photographs, drawn: `data=dead_leaves`."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from unfold.data.dataset import CHANNELS
from unfold.data.indexed.drawn import DrawnData, blurred
from unfold.errors import ConfigError
from unfold.parameters.bounds import bounded, inside, positive, whole
from unfold.typing import Shape

FINER = 2
"""Samples of a pixel along each axis, whose mean it is: shapes have soft edges."""

LAYERS = 5.0
"""Area of all shapes over that of the image: a point is left uncovered with probability e⁻⁵."""

COARSEST = 16.0
"""The smallest radius of an image over that of all images, at most."""

CORNERS = 24
"""Vertices of a round shape."""

MOST_SHAPES = 2**17
"""More are not painted; the smallest radius, of which most are, should then be larger."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DeadLeaves(DrawnData):
    """Shapes of random place and of radius r ~ r⁻³ that occlude one another.

    A shape is round, a blob or a polygon, and is filled by a colour, a linear shading and a
    texture: none, noise of spectrum 1/f, or stripes. A Gaussian of random width blurs the image.

    Args:
        size: side of the training images, in pixels.
        full_size: side of the images to validate and test on, in pixels.
        radii: the smallest and the largest radius, in pixels.
        texture: largest standard deviation of a texture.
        blur: largest standard deviation of the blur, in pixels.

    Source: Lee, Mumford and Huang, Occlusion models for natural images, IJCV 41 (2001), section 3,
    for shapes of scale-invariant size; Achddou, Gousseau and Ladjal, Synthetic images as a
    regularity prior for image restoration neural networks, SSVM 2021, for training on them.
    """

    channels: int = bounded(1, CHANNELS)
    size: int = bounded(64, whole(1), "in pixels")
    full_size: int = bounded(128, whole(1), "in pixels")
    radii: tuple[float, float] = bounded((1.5, 100.0), positive, "in pixels")
    texture: float = bounded(0.12, inside("[0, 1]"), "of an image in [0, 1]")
    blur: float = bounded(0.6, inside("[0, 16]"), "in pixels")

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.radii
        if not low < high:
            raise ConfigError(
                f"DeadLeaves.radii = {list(self.radii)}: must be the smallest "
                "radius and a larger one."
            )

    def shape(self, split: str) -> Shape:
        side = self.size if split == "train" else self.full_size
        return (self.channels, side, side)

    def drawn(self, g: np.random.Generator, split: str) -> np.ndarray:
        side = self.shape(split)[1]
        fine = FINER * side
        radius, centre = self._leaves(g, side)
        labels = painted(g, radius * FINER, centre * FINER, fine)
        image = filled(g, labels, len(radius), self.channels, self.texture)
        image = image.reshape(self.channels, side, FINER, side, FINER).mean((2, 4))
        soft: np.ndarray = np.clip(blurred(image, g.uniform(0, self.blur)), 0, 1)
        return soft

    def _leaves(self, g: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Radii (n,) and centres (n, 2) of those of a Poisson process that reach the image.

        Centres whose radius is r lie in a square of side s + 2r, so that the radii have the density
        r⁻³(s + 2r)², a sum of three powers. The smallest radius is log-uniform: some images are
        cluttered, and most have large shapes.
        """
        low, high = self.radii
        low *= min(COARSEST, high / (2 * low)) ** g.random()
        powers = [(s, *_power(low, high, k)) for k, s in ((-3, side**2), (-2, 4 * side), (-1, 4))]
        mass = np.array([s * total for s, total, _ in powers])
        density = LAYERS / (np.pi * np.log(high / low))
        count = min(MOST_SHAPES, g.poisson(density * mass.sum()) + 1)
        which, u = g.choice(3, count, p=mass / mass.sum()), g.random(count)
        radius = np.choose(which, [inverse(u) for _, _, inverse in powers])
        centre = g.uniform(-1, 1, (count, 2)) * (side / 2 + radius)[:, None] + side / 2
        return radius, centre


def _power(low: float, high: float, k: int) -> tuple[float, Callable[[np.ndarray], np.ndarray]]:
    """∫ rᵏ dr over [low, high], and the inverse of the distribution of density ∝ rᵏ."""
    if k == -1:
        return np.log(high / low), lambda u: low * (high / low) ** u
    a, b = low ** (k + 1), high ** (k + 1)
    return (b - a) / (k + 1), lambda u: (a + u * (b - a)) ** (1 / (k + 1))


def painted(
    g: np.random.Generator, radius: np.ndarray, centre: np.ndarray, side: int
) -> np.ndarray:
    """(side, side): the index from 1 of the shape that is on top in each pixel; 0 where none is."""
    n = len(radius)
    # Of each shape an ellipse, of which some have bumps, and some only a few corners.
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False) + g.uniform(0, 2 * np.pi, (n, 1))
    corners = g.integers(3, 8, (n, 1))
    steps = np.floor(np.arange(CORNERS) * corners / CORNERS) * (2 * np.pi / corners)
    kind = g.random((n, 1))
    angle = np.where(
        kind < 0.45, steps + angle[:, :1] + g.normal(0, 0.25, (n, 1)) * np.sin(steps), angle
    )
    bumps = sum(
        g.normal(0, 0.25 / m, (n, 1)) * np.cos(m * angle + g.uniform(0, 2 * np.pi, (n, 1)))
        for m in (2, 3, 5)
    )
    size = radius[:, None] * np.where(kind > 0.7, np.maximum(1 + bumps, 0.2), 1)
    aspect, turn = g.uniform(0.35, 1, (n, 1)), g.uniform(0, np.pi, (n, 1))
    u, v = size * np.cos(angle), size * np.sin(angle) * aspect
    x = centre[:, :1] + np.cos(turn) * u - np.sin(turn) * v
    y = centre[:, 1:] + np.sin(turn) * u + np.cos(turn) * v
    canvas = Pillow.new("I", (side, side))
    draw = ImageDraw.Draw(canvas)
    for i, points in enumerate(np.stack([x, y], -1).reshape(n, -1).tolist(), 1):
        draw.polygon(points, fill=i)
    return np.asarray(canvas)


def filled(
    g: np.random.Generator, labels: np.ndarray, count: int, channels: int, texture: float
) -> np.ndarray:
    """(channels, H, W): the colour, the shading and the texture of each shape."""
    side, n = len(labels), count + 1
    contrast, level = g.uniform(0.3, 1), g.beta(2, 2)
    light = contrast * g.beta(1.0, 1.2, (n, 1)) + (1 - contrast) * level
    tint = g.normal(0, 0.04, channels) + g.normal(0, 0.07, (n, channels)) * g.gamma(1, 1, (n, 1))
    colour = light + (tint - tint.mean(1, keepdims=True)) * np.sqrt(light + 0.05)
    slope = g.normal(0, 0.35, (n, 2)) / side * g.gamma(1.0, 1.0, (n, 1))
    grid = np.arange(side) - side / 2
    shading = slope[labels, 0] * grid + slope[labels, 1] * grid[:, None]
    strength = texture * g.random(n) ** 2 * (g.random(n) < 0.75)
    stripes = strength * (g.random(n) < 0.12)
    noise = np.stack([pink(g, side, alpha) for alpha in (0.6, 1.0, 1.5)])
    kind = g.integers(3, size=n)
    fine = np.take_along_axis(noise, kind[labels][None], 0)[0]
    wave = g.uniform(0, 2 * np.pi, n), np.exp(g.uniform(np.log(3), np.log(16), n)) * FINER
    towards = np.cos(wave[0])[labels] * grid + np.sin(wave[0])[labels] * grid[:, None]
    lines = np.sin(2 * np.pi * towards / wave[1][labels])
    detail = (strength - stripes)[labels] * fine + stripes[labels] * lines
    image: np.ndarray = colour.T[:, labels] * (1 + shading) + detail
    return image


def pink(g: np.random.Generator, side: int, alpha: float) -> np.ndarray:
    """(side, side): noise of amplitude |ω|^−α, mean 0 and variance 1."""
    omega = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    omega[0, 0] = np.inf
    white = np.fft.rfft2(g.standard_normal((side, side)))
    noise = np.fft.irfft2(white * omega**-alpha, (side, side))
    return np.asarray(noise / noise.std())
