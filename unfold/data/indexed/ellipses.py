"""Random ellipses, and the Shepp–Logan phantom to test on: `data=ellipses`."""

from dataclasses import dataclass

import numpy as np

from unfold.data.indexed.drawn import DrawnData, blurred
from unfold.parameters.bounds import bounded, nonnegative, whole
from unfold.typing import Shape

SHEPP_LOGAN = np.array(
    [
        (1.0, 0.69, 0.92, 0.0, 0.0, 0.0),
        (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0.0),
        (-0.2, 0.11, 0.31, 0.22, 0.0, -18.0),
        (-0.2, 0.16, 0.41, -0.22, 0.0, 18.0),
        (0.1, 0.21, 0.25, 0.0, 0.35, 0.0),
        (0.1, 0.046, 0.046, 0.0, 0.1, 0.0),
        (0.1, 0.046, 0.046, 0.0, -0.1, 0.0),
        (0.1, 0.046, 0.023, -0.08, -0.605, 0.0),
        (0.1, 0.023, 0.023, 0.0, -0.606, 0.0),
        (0.1, 0.023, 0.046, 0.06, -0.605, 0.0),
    ]
)
"""Value, half axes, centre, and angle in degrees of each ellipse, in units of half a side.

Source: Toft, The Radon transform, theory and implementation, PhD thesis, 1996, table B.3, the
phantom of Shepp and Logan with a higher contrast.
"""


def phantom(ellipses: np.ndarray, size: int) -> np.ndarray:
    """(size, size): Σ of the values of the ellipses around the centre of each pixel, y upwards.

    Args:
        ellipses: (N, 6), rows as of `SHEPP_LOGAN`.
        size: side of the image, in pixels.
    """
    grid = (np.arange(size) + 0.5) * 2 / size - 1
    image = np.zeros((size, size))
    for value, a, b, x0, y0, degrees in ellipses:
        u, v = grid[None] - x0, -grid[:, None] - y0
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        image[((c * u + s * v) / a) ** 2 + ((c * v - s * u) / b) ** 2 <= 1] += value
    return image


FINER, SOFT = 8, 0.2
"""Samples of a pixel of the phantom along each axis; and the deviation of its blur, in pixels."""


def shepp_logan(size: int) -> np.ndarray:
    """(size, size): the phantom, anti-aliased.

    The blur is chosen for the figure that calibrates a projector: the filtered back-projection of
    128 x 128 from 30 views under 5 % of noise has 19.8 dB. It has 19.4 dB without the blur, 17.9 dB
    where pixels are sampled in their centres, and 19.8 dB of scikit-image's phantom, resized.
    """
    fine = blurred(phantom(SHEPP_LOGAN, FINER * size)[None], FINER * SOFT)
    return np.asarray(fine.reshape(size, FINER, size, FINER).mean((1, 3)))


@dataclass(frozen=True, eq=False, kw_only=True)
class Ellipses(DrawnData):
    """Σ of Poisson(ν) ellipses to train on; the modified Shepp–Logan phantom elsewhere.

    Values (U − ½)·Exp(0.4), half axes 0.2·Exp(1), centres uniform in the square [−1, 1]², angles
    uniform: intensities are around 0, and not bounded. The phantom to validate on is the mirror
    image of the one to test on, so that no image is in both splits.

    Args:
        size: side of the images, in pixels.
        mean_count: ν.

    Source: Adler and Öktem, Learned primal-dual reconstruction, TMI 37 (2018), section IV-A, with
    the distributions of the code published by the authors.
    """

    size: int = bounded(128, whole(2), "in pixels")
    mean_count: float = bounded(50.0, nonnegative, "ellipses in an image")
    batch_size: int = bounded(5, whole(1), "in images")
    validation_images: int = bounded(1, whole(0, 1), "the phantom, or none")
    test_images: int = bounded(1, whole(0, 1), "the phantom, or none")

    def shape(self, split: str) -> Shape:
        return (self.channels, self.size, self.size)

    def drawn(self, g: np.random.Generator, split: str) -> np.ndarray:
        if split == "train":
            channels = range(self.channels)
            return np.stack([phantom(self._random(g), self.size) for _ in channels])
        image = shepp_logan(self.size)
        one = image if split == "test" else image[:, ::-1]
        return np.broadcast_to(one, self.shape(split))

    def _random(self, g: np.random.Generator) -> np.ndarray:
        """Ellipses, as `phantom` takes them."""
        n = g.poisson(self.mean_count)
        value = (g.random(n) - 0.5) * g.exponential(0.4, n)
        axes, centre = 0.2 * g.exponential(1.0, (2, n)), g.uniform(-1, 1, (2, n))
        return np.stack([value, *axes, *centre, g.uniform(0, 360, n)], 1)
