"""Several receiver coils, each of which sees the image through its own sensitivity."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from unfold.errors import ShapeError
from unfold.physics.fourier import back, check_mask, transform
from unfold.physics.operator import Operator
from unfold.typing import Image, Measurement, PerImage, Shape


@dataclass(frozen=True, eq=False)
class Coils(Operator):
    """(Ax)_j = m · F(S_j · x), F the orthonormal transform, frequency 0 at index (0, 0).

    Args:
        mask: m, real, (B or 1, 1, H or 1, W or 1); 1 where a frequency is sampled.
        maps: S, complex, (B or 1, J, H, W), one map for each of the J coils.
        shape: of one image, (C, H, W); one measurement is (C, J, H, W).

    Raises:
        ShapeError: the mask or the maps do not fit the image.

    Source: Pruessmann, Weiger, Scheidegger and Boesiger, SENSE: sensitivity encoding for fast MRI,
    Magnetic Resonance in Medicine 42 (1999), for the model; its solves are by conjugate gradients.
    """

    mask: Tensor
    maps: Tensor
    shape: Shape

    def __post_init__(self) -> None:
        check_mask("Coils", self.mask, self.shape)
        check_maps("Coils", self.maps, self.shape)

    @property
    def image_shape(self) -> Shape:
        return self.shape

    @property
    def measurement_shape(self) -> Shape:
        return self.shape[0], self.maps.shape[1], *self.shape[1:]

    @cached_property
    def norm_bound(self) -> PerImage:
        """The largest m² times the largest Σ_j |S_j|², between which F keeps the norm."""
        weights = self.mask.detach().square().flatten(1).amax(1)
        return weights * self.maps.detach().abs().square().sum(1).flatten(1).amax(1)

    def forward(self, x: Image) -> Measurement:
        return self.mask[:, None] * transform(self.maps[:, None] * x[:, :, None])

    def adjoint(self, y: Measurement) -> Image:
        return (self.maps.conj()[:, None] * back(self.mask[:, None] * y)).sum(2)


def check_maps(owner: str, maps: Tensor, shape: Shape) -> None:
    """Refuse coil maps that are not (B or 1, J, H, W) and complex.

    Raises:
        ShapeError: with the shapes.
    """
    size = tuple(shape[-2:])
    if maps.ndim != 4 or tuple(maps.shape[2:]) != size or not maps.is_complex():
        raise ShapeError(
            f"{owner}.maps must be complex, (batch or 1, coils, {size[0]}, {size[1]}), got "
            f"{tuple(maps.shape)} of {maps.dtype}."
        )
