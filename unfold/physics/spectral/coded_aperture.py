"""Snapshot spectral imaging: all bands of an image on one detector."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from unfold.errors import ConfigError
from unfold.parameters.bounds import Declared, bounded, inside, whole
from unfold.physics.base import Physics
from unfold.physics.closed_forms import DiagonalGram
from unfold.physics.inpainting import sample_mask
from unfold.physics.levels import Level
from unfold.physics.operator import EACH
from unfold.pytree import Derived
from unfold.random import Draws
from unfold.typing import Image, Measurement, Shape


@dataclass(frozen=True, eq=False)
class CodedAperture(Declared, DiagonalGram):
    """(Ax)(u, v) = Σ_c m(u, v − sc) x_c(u, v − sc): every band is coded, shifted and summed.

    AA* is diagonal, the sum of the shifted m².

    Args:
        mask: m, real, (B or 1, 1, H, W), the aperture before the prism.
        image_shape: of one image, (C, H, W); one measurement is (1, H, W + s(C − 1)).
        shift: s, columns from one band to the next, at least 0.

    Source: Wagadarikar, John, Willett and Brady, Single disperser design for coded aperture
    snapshot spectral imaging, Applied Optics 47 (2008), section 2; Yuan, Brady and Katsaggelos,
    Snapshot compressive imaging, IEEE Signal Processing Magazine 38 (2021), for the closed forms.
    """

    mask: Tensor
    image_shape: Shape
    shift: int = bounded(accepted=whole(0), note="columns per band")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.expect_field("mask", "real", EACH, 1, *self.image_shape[1:])

    @property
    def measurement_shape(self) -> Shape:
        channels, height, width = self.image_shape
        return 1, height, width + self.shift * (channels - 1)

    @Derived
    def power(self) -> Tensor:
        """The diagonal of AA*, (B or 1, 1, H, W + s(C − 1))."""
        return self._disperse((self.mask**2).expand(-1, self.image_shape[0], -1, -1))

    def forward(self, x: Image) -> Measurement:
        return self._disperse(self.mask * x)

    def adjoint(self, y: Measurement) -> Image:
        channels, _, width = self.image_shape
        starts = range(0, channels * self.shift, self.shift) if self.shift else [0] * channels
        return self.mask * torch.cat([y[..., start : start + width] for start in starts], 1)

    def _disperse(self, bands: Tensor) -> Tensor:
        """The sum of the bands, each moved to its place."""
        extent = self.measurement_shape[-1] - self.image_shape[-1]
        moved = [
            pad(bands[:, c : c + 1], (c * self.shift, extent - c * self.shift))
            for c in range(self.image_shape[0])
        ]
        return torch.stack(moved).sum(0)


@dataclass(frozen=True)
class SpectralImaging(Physics):
    """y = Σ_c the coded band c, shifted by s columns, with noise: one picture of all bands (CASSI).

    The aperture is sampled for every image. A grey image has one band, and y is x behind a mask.

    Args:
        keep: fraction of the aperture that is open, in (0, 1]; a number, or a range to sample from
            per image. Something is always open.
        shift: s, a whole number of columns of at least 0.
    """

    keep: Level = bounded(
        0.5, inside("(0, 1]"), "the fraction of the aperture that is open", level=True
    )
    shift: int = bounded(2, whole(0), "columns per band")

    @property
    def is_deterministic(self) -> bool:
        return self.keep == 1

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """Refused: the number of bands is not in the measurement."""
        raise ConfigError(
            "SpectralImaging: a picture does not tell how many bands are in it; pass the operator "
            "that measured y."
        )

    def sample(self, draws: Draws, shape: Shape) -> CodedAperture:
        draws = draws.take([0]) if self.is_deterministic else draws
        open_ = sample_mask(draws, "aperture", (1, *shape[1:]), self.keep)
        return CodedAperture(open_.to(draws.dtype), shape, self.shift)
