"""Our operators and those of deepinv with the same kernels, masks, sizes and boundaries."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unfold.extras import deepinv
from unfold.physics.blur.convolution import CircularConvolution, ValidConvolution
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.blur.super_resolution import Downsampling
from unfold.physics.ct.tomography import Tomography
from unfold.physics.custom.matrix import Dense
from unfold.physics.inpainting import Inpainting
from unfold.physics.mri.cartesian import Fourier, MultiCoilFourier, MultiCoilMRI
from unfold.physics.mri.sampling import RandomColumns
from unfold.physics.noise.base import Gaussian
from unfold.physics.operator import Operator
from unfold.physics.sensing.compressed import SinglePixel
from unfold.physics.spectral.colour import LUMA, WeightedChannels
from unfold.random import Draws

BATCH, SHAPE = 8, (1, 64, 64)
NOISE = Gaussian(0.02)


def itself(x: Tensor) -> Tensor:
    """Images that both sides hold alike."""
    return x


def two_channels(x: Tensor) -> Tensor:
    """A complex image as deepinv holds it: the real and the imaginary part as channels."""
    return torch.view_as_real(x[:, 0]).movedim(-1, 1).contiguous()


@dataclass(frozen=True)
class Pair:
    """One operator of ours and one of theirs.

    Args:
        name: of the row.
        ours: the operator of `unfold`.
        theirs: the physics of deepinv.
        x: images for ours.
        held: the same images as theirs holds them.
        closed: whether A*A, or the prox, has a closed form here.
        same: whether both are the same matrix, up to the order of the measurements.
        wrong: methods of theirs that do not compute what they should, and are not compared.
    """

    name: str
    ours: Operator
    theirs: Any
    x: Tensor
    held: Callable[[Tensor], Tensor] = itself
    closed: bool = True
    same: bool = True
    wrong: tuple[str, ...] = ()


def pairs(dtype: torch.dtype = torch.float32) -> Iterator[Pair]:
    """Every family that both libraries have, the per-image masks and maps drawn once."""
    physics = deepinv().physics
    draws = Draws(0, range(BATCH), dtype=dtype)
    x = draws.uniform("images", SHAPE)
    colour = draws.uniform("colours", (3, *SHAPE[1:]))
    kernel = GaussianKernel(13, 1.6).sample(draws)
    mask = Inpainting(NOISE, 0.5).sample(draws, SHAPE)
    yield Pair("inpainting", mask, physics.Inpainting(SHAPE, mask=mask.mask.contiguous()), x)
    blur = physics.BlurFFT(SHAPE, filter=kernel)
    yield Pair("circular blur", CircularConvolution(kernel, SHAPE), blur, x)
    valid = ValidConvolution(kernel, SHAPE)
    for name, fft in (("valid blur", False), ("valid blur, fft", True)):
        blur = physics.Blur(filter=kernel, padding="valid", use_fft=fft)
        yield Pair(name, valid, blur, x, closed=False)
    coarse = physics.Downsampling(SHAPE, filter=kernel, factor=2)
    yield Pair("super-resolution", Downsampling(kernel, SHAPE, 2), coarse, x)
    yield from _magnetic(physics, draws)
    turned = Tomography(NOISE, 60).sample(draws, SHAPE)
    scan = physics.Tomography(60, SHAPE[-1], normalize=False)
    yield Pair("tomography", turned, scan, x, closed=False, same=False)
    sensing = physics.CompressedSensing(1024, SHAPE, dtype=dtype)
    yield Pair("dense matrix", Dense(sensing._A[None], SHAPE), sensing, x, closed=False)
    pixel = SinglePixel(NOISE, 0.25).sample(draws, SHAPE)
    camera = physics.SinglePixelCamera(1024, SHAPE)
    yield Pair("single pixel", pixel, camera, x, same=False)
    weights = torch.tensor(LUMA, dtype=dtype).reshape(1, -1, 1, 1)
    grey = physics.Decolorize(srf=list(LUMA))
    ours = WeightedChannels(weights, (3, *SHAPE[1:]))
    # deepinv 0.5.0 loses the part of z that A does not see.
    yield Pair("colour to grey", ours, grey, colour, wrong=("prox",))


def _magnetic(physics: Any, draws: Draws) -> Iterator[Pair]:
    """Complex images; deepinv keeps frequency 0 in the middle."""
    x = torch.complex(draws.uniform("real", SHAPE), draws.uniform("imaginary", SHAPE))
    operator = MultiCoilMRI(NOISE, RandomColumns()).complex_operator(draws, SHAPE)
    assert isinstance(operator, MultiCoilFourier)
    centred = torch.fft.fftshift(operator.mask, dim=-1).expand(-1, 1, *SHAPE[1:]).contiguous()
    one = physics.MRI(mask=centred, img_size=SHAPE[1:])
    yield Pair("mri", Fourier(operator.mask, SHAPE), one, x, two_channels)
    many = physics.MultiCoilMRI(mask=centred, coil_maps=operator.maps, img_size=SHAPE[1:])
    yield Pair("mri, 4 coils", operator, many, x, two_channels, closed=False)
