"""Cartesian magnetic resonance imaging: part of the Fourier transform of the image is measured."""

from abc import ABC
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from unfold.parameters.bounds import bounded, positive, whole
from unfold.parameters.constraints import complex_numbers
from unfold.parameters.declare import Learnable
from unfold.physics.base import Examples, Taken
from unfold.physics.closed_forms import DiagonalNormal, divide
from unfold.physics.mri.coils import (
    ESPIRIT,
    HALVES,
    FixedMaps,
    MagneticResonance,
    estimate_maps,
    read_maps,
    sample_maps,
)
from unfold.physics.mri.learned import MASK
from unfold.physics.mri.masks import FixedMasks, Masks, masks_of
from unfold.physics.mri.sampling import DISTRIBUTIONS, Sampling
from unfold.physics.noise.measured import DATA
from unfold.physics.operator import EACH, LinearOperator, Operator
from unfold.physics.wrapped import RealImages
from unfold.random import Draws
from unfold.typing import Field, Image, Measurement, PerImage, Shape

C = TypeVar("C", bound="CartesianMRI")


@dataclass(frozen=True, eq=False)
class Fourier(DiagonalNormal):
    """Ax = m · Fx of complex images, F the orthonormal transform; frequency 0 is at index (0, 0).

    Args:
        mask: m, real, (B or 1, 1, H or 1, W or 1), shared by the channels; 1 where a frequency is
            sampled.
        image_shape: of one image, (C, H, W).
    """

    mask: Tensor
    image_shape: Shape

    def __post_init__(self) -> None:
        _, height, width = self.image_shape
        self.expect_field("mask", "real", EACH, 1, (height, 1), (width, 1))

    complex_images = True

    @property
    def acquired(self) -> Tensor:  # type: ignore[override]
        return (self.mask != 0).to(self.mask.dtype)

    def forward(self, x: Image) -> Measurement:
        return self.mask * transform(x)

    def adjoint(self, y: Measurement) -> Image:
        return back(self.mask * y)

    @property
    def power(self) -> Tensor:
        """m², the spectrum of A*A."""
        return self.mask**2

    def normal_spectrum(self, like: Image) -> Tensor | None:
        width = like.shape[-1] // 2 + 1
        return self.power if like.is_complex() else self.power[..., :width]

    def coefficients(self, x: Image) -> Tensor:
        return transform(x)

    def synthesis(self, v: Tensor) -> Image:
        return back(v)

    def pseudo_inverse(self, y: Measurement) -> Image:
        """F⁻¹(y / m) over the frequencies with m ≠ 0."""
        return back(divide(y, self.mask))


@dataclass(frozen=True, eq=False)
class RealFourier(Fourier):
    """Ax = m · Fx of real images: A*y = Re F⁻¹(m · y), and A*A = F⁻¹ s F.

    The frequencies k and −k of a real image are conjugate: s(k) = (m²(k) + m²(−k)) / 2.
    """

    complex_images = False
    complex_measurements = True

    def adjoint(self, y: Measurement) -> Image:
        return super().adjoint(y).real

    def synthesis(self, v: Tensor) -> Image:
        return back(v).real

    def pseudo_inverse(self, y: Measurement) -> Image:
        """F⁻¹(F A*y / s) over the frequencies with s ≠ 0."""
        s = self.power
        inverse = torch.where(s != 0, 1 / torch.where(s != 0, s, 1), 0)
        return back(inverse * transform(self.adjoint(y))).real

    @property
    def power(self) -> Tensor:
        """The spectrum s of A*A, of the shape of the mask."""
        squared = self.mask**2
        mirrored = squared.flip((-2, -1)).roll((1, 1), (-2, -1))
        return (squared + mirrored) / 2


@dataclass(frozen=True, eq=False)
class MultiCoilFourier(LinearOperator):
    """(Ax)_j = m · F(S_j · x), F the orthonormal transform, frequency 0 at index (0, 0).

    Args:
        mask: m, real, (B or 1, 1, H or 1, W or 1); 1 where a frequency is sampled.
        maps: S, complex, (B or 1, J, H, W), one map for each of the J coils.
        image_shape: of one image, (C, H, W); one measurement is (C, J, H, W).

    Source: Pruessmann, Weiger, Scheidegger and Boesiger, SENSE: sensitivity encoding for fast MRI,
    Magnetic Resonance in Medicine 42 (1999), for the model; its solves are by conjugate gradients.
    """

    mask: Tensor
    maps: Tensor
    image_shape: Shape

    def __post_init__(self) -> None:
        _, height, width = self.image_shape
        self.expect_field("mask", "real", EACH, 1, (height, 1), (width, 1))
        self.expect_field("maps", "complex", EACH, "coils", height, width)

    @property
    def measurement_shape(self) -> Shape:
        return self.image_shape[0], self.maps.shape[1], *self.image_shape[1:]

    @property
    def acquired(self) -> Tensor:  # type: ignore[override]
        return (self.mask != 0).to(self.mask.dtype)[:, None]

    @cached_property
    def norm_bound(self) -> PerImage:
        """The largest m² times the largest Σ_j |S_j|², between which F keeps the norm."""
        weights = self.mask.detach().square().flatten(1).amax(1)
        return weights * self.maps.detach().abs().square().sum(1).flatten(1).amax(1)

    def forward(self, x: Image) -> Measurement:
        return self.mask[:, None] * transform(self.maps[:, None] * x[:, :, None])

    def adjoint(self, y: Measurement) -> Image:
        # Not lazily, as in `batched_inner`.
        return (torch.conj_physical(self.maps)[:, None] * back(self.mask[:, None] * y)).sum(2)


def transform(x: Tensor) -> Tensor:
    """Fx, orthonormal, over the last two dimensions."""
    spectrum: Tensor = torch.fft.fft2(x, norm="ortho")
    return spectrum


def back(spectrum: Tensor) -> Tensor:
    """F⁻¹ of a spectrum."""
    x: Tensor = torch.fft.ifft2(spectrum, norm="ortho")
    return x


@dataclass(frozen=True)
class CartesianMRI(MagneticResonance, ABC):
    """Frequencies on the grid, of which a mask m is acquired.

    Of full measured frequencies, those of a drawn mask are taken. Where the data says what was
    acquired, its parameter `mask`, only that is.

    Args:
        noise: complex, added to all frequencies, also to the zeros of those not acquired.
        mask: the distribution of m; or the file of one; or the word `data`.
    """

    mask: Masks | str

    from_data: ClassVar[Taken] = {"mask": FixedMasks}
    learnable: ClassVar[Mapping[str, Learnable]] = {"mask": MASK}
    on_host = ("mask",)
    varied = ("mask.acceleration",)

    def variants(self: C) -> Mapping[str, C]:
        """Other accelerations, and the other distributions of masks at the same one."""
        found, own = dict(super().variants()), self.masks
        if not isinstance(own, Sampling):
            return found
        for kind in DISTRIBUTIONS:
            if kind.axes == own.axes and kind is not type(own):
                found[kind.__name__] = replace(self, mask=kind(own.acceleration, own.centre))
        return found

    def __post_init__(self) -> None:
        super().__post_init__()
        self.masks  # noqa: B018 - a file is read here, so that a bad one is found at once

    @cached_property
    def masks(self) -> Masks | None:
        """The distribution of m; None where it is taken from the data."""
        return None if self.mask == DATA else masks_of(self.mask)

    @property
    def is_deterministic(self) -> bool:
        return self.masks is not None and self.masks.is_deterministic

    def given(self: C, examples: Examples) -> C:
        physics, acquired = super().given(examples), examples.parameters.get("mask")
        if acquired is None or self.masks is None:
            return physics
        return replace(physics, mask=FixedMasks(acquired, physics.masks))

    def prospective(self: C, examples: Examples, stated: Collection[str] = ()) -> C:
        """Of frequencies that came without a mask, all were acquired."""
        y, parameters = examples.measurement, dict(examples.parameters)
        if y is not None and "mask" not in parameters:
            parameters["mask"] = y.new_ones(len(y), 1, 1, y.shape[-1]).real
        return super().prospective(examples._replace(parameters=parameters), stated)

    def sample_mask(self, draws: Draws, shape: Shape) -> Tensor:
        """m, (B or 1, 1, H or 1, W), for images of a shape."""
        if self.masks is None:
            raise self.without("mask")
        return self.masks.sample(draws.within("columns"), *shape[-2:])

    def restrict(self, y: Field, operator: Operator) -> Measurement:
        """m · y: of full measured frequencies, those of the sampled mask."""
        y = super().restrict(y, operator)
        inner = operator.operator if isinstance(operator, RealImages) else operator
        assert isinstance(inner, Fourier | MultiCoilFourier)
        mask = inner.mask
        return mask.reshape(len(mask), *[1] * (y.ndim - 3), *mask.shape[-2:]) * y


@dataclass(frozen=True)
class MRI(CartesianMRI):
    """y = m · Fx with noise, F the orthonormal transform, of complex images."""

    def sample(self, draws: Draws, shape: Shape) -> Operator:
        if self.real_images:
            return RealFourier(self.sample_mask(draws, shape), shape)
        return super().sample(draws, shape)

    def complex_operator(self, draws: Draws, shape: Shape) -> Fourier:
        return Fourier(self.sample_mask(draws, shape), shape)


@dataclass(frozen=True)
class MultiCoilMRI(CartesianMRI):
    """y_j = m · F(S_j · x) with noise, j = 1 … J, Σ |S_j|² = 1 at every pixel.

    Where nothing else is said, S are the maps of the data; where it has none, S_j is a Gaussian
    bump around the place of coil j on a circle about the image, times a phase that is linear in the
    pixels; the circle is rotated and the phases are sampled for every image.

    Args:
        noise: complex, added to all frequencies of all coils.
        mask: the distribution of m; or the file of one; or the word `data`.
        coils: J of simulated maps, at least 1.
        width: standard deviation of a bump, in halves of the image's side, positive.
        maps: `espirit`, estimated from each measurement; or the file of an array (J, H, W).
    """

    baselines = ("zero_filled", "cg_sense", "tv")
    coils: int = bounded(4, whole(1))
    width: float = bounded(1.0, positive, HALVES)
    maps: FixedMaps | str | None = None

    from_data: ClassVar[Taken] = {"mask": FixedMasks, "maps": FixedMaps}
    learnable: ClassVar[Mapping[str, Learnable]] = {
        "mask": MASK,
        "maps": Learnable(
            complex_numbers, lambda own: getattr(own.maps, "values", None), "a file of maps"
        ),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.maps, str) and self.maps not in (DATA, ESPIRIT):
            object.__setattr__(self, "maps", read_maps(self.maps))

    @property
    def is_deterministic(self) -> bool:
        return super().is_deterministic and isinstance(self.maps, FixedMaps)

    def given(self, examples: Examples) -> "MultiCoilMRI":
        """With the maps of the data, or those that explain its measurement."""
        physics, maps = super().given(examples), examples.parameters.get("maps")
        if self.maps == ESPIRIT and examples.measurement is not None:
            maps = estimate_maps(examples.measurement[:, 0])
        elif self.maps is not None or maps is None:
            return physics
        return replace(physics, maps=FixedMaps(maps))

    def image_shape(self, measurement_shape: Shape) -> Shape:
        return measurement_shape[0], *measurement_shape[2:]

    def complex_operator(self, draws: Draws, shape: Shape) -> MultiCoilFourier:
        if isinstance(self.maps, str):
            raise self.without("maps")
        if self.maps is None:
            maps = sample_maps(draws, self.coils, self.width, shape)
        else:
            maps = self.maps.values.to(draws.device, draws.dtype.to_complex())
        return MultiCoilFourier(self.sample_mask(draws, shape), maps, shape)
