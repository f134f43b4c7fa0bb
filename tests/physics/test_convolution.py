"""Convolution, not correlation: against its definition, scipy and torch."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from scipy.signal import convolve2d

from tests import operator_properties as properties
from tests.physics.definition import assert_convolves
from tests.physics.instances import kernel
from unfold.errors import ConfigError, ShapeError
from unfold.physics.blur.convolution import CircularConvolution, ValidConvolution
from unfold.physics.blur.super_resolution import Downsampling
from unfold.physics.inpainting import Mask

H = kernel(3, 2, 5, 3)
SHAPES = [(2, 9, 8), (2, 7, 11), (2, 5, 3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_circular_is_the_definition_and_scipy(shape: tuple[int, int, int]):
    operator = CircularConvolution(H, shape)
    assert_convolves(operator, H)
    x = properties.probe(operator, 0)
    y = operator.A(x)
    for b in range(3):
        for c in range(2):
            want = convolve(x[b, c].numpy(), H[b, c].numpy(), mode="wrap")
            assert np.abs(y[b, c].numpy() - want).max() < 1e-13
            want = convolve2d(x[b, c].numpy(), H[b, c].numpy(), mode="same", boundary="wrap")
            assert np.abs(y[b, c].numpy() - want).max() < 1e-13


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_valid_is_scipy(shape: tuple[int, int, int]):
    operator = ValidConvolution(H, shape)
    x = properties.probe(operator, 1, dtype=torch.complex128)
    y = operator.A(x)
    for b in range(3):
        for c in range(2):
            want = convolve2d(x[b, c].numpy(), H[b, c].numpy(), mode="valid")
            assert y[b, c].shape == want.shape
            assert np.abs(y[b, c].numpy() - want).max() < 1e-13


def test_valid_is_the_grouped_convolution_of_torch():
    x, h = torch.rand(3, 2, 16, 15), kernel(3, 1, 5, 5).float()
    weight = h.flip(-1, -2).expand(3, 2, 5, 5).reshape(6, 1, 5, 5)
    want = torch.nn.functional.conv2d(x.reshape(1, 6, 16, 15), weight, groups=6)
    got = ValidConvolution(h, (2, 16, 15)).A(x)
    assert properties.gap(got, want.reshape(got.shape)) < 1e-6


def test_downsampling_keeps_the_first_pixel_of_every_block():
    operator = Downsampling(H, (2, 9, 6), 3)
    x = properties.probe(operator, 2)
    want = CircularConvolution(H, (2, 9, 6)).A(x)[..., ::3, ::3]
    assert torch.equal(operator.A(x), want)


def test_the_cut_off_of_the_pseudo_inverse():
    """A frequency at 1e-4 of the largest is inverted at rcond 1e-6 and left out at 1e-3."""
    box = torch.full((1, 1, 1, 3), (1 - 1e-4) / 3, dtype=torch.float64)
    box[..., 1] += 1e-4
    for rcond, amplifies in ((1e-6, True), (1e-3, False)):
        operator = CircularConvolution(box, (1, 1, 9), rcond)
        properties.assert_pseudo_inverse(operator, rcond=rcond)
        y = torch.cos(2 * torch.pi * torch.arange(9, dtype=torch.float64) / 3).reshape(1, 1, 1, 9)
        assert (float(operator.pseudo_inverse(y).abs().max()) > 1e3) == amplifies


def test_two_transforms_a_call(monkeypatch):
    count = []
    for name in ("rfft2", "irfft2"):
        real = getattr(torch.fft, name)
        monkeypatch.setattr(
            torch.fft, name, lambda *a, _f=real, **k: count.append(1) or _f(*a, **k)
        )
    operator = CircularConvolution(H, (2, 9, 8))
    x = properties.probe(operator, 3)
    operator.A(x)
    assert len(count) == 3
    for call in (
        operator.A,
        operator.A_adjoint,
        operator.normal,
        lambda t: operator.solve_normal(t, 1.0),
    ):
        count.clear()
        call(x)
        assert len(count) == 2
    count.clear()
    _ = operator.norm_squared
    assert not count


def test_the_spectrum_keeps_the_gradient_whoever_asks_first():
    h = kernel(1, 1, 3, 3).requires_grad_()
    operator = CircularConvolution(h, (1, 6, 6))
    x = properties.probe(operator, 4)
    with torch.inference_mode():
        operator.A(x)
    with torch.no_grad():
        assert not operator.A(x).requires_grad
    (gradient,) = torch.autograd.grad(operator.A(x).square().sum(), h)
    assert float(gradient.abs().max()) > 0
    assert torch.autograd.gradcheck(
        lambda k: CircularConvolution(k, (1, 6, 6)).pseudo_inverse(x), h, fast_mode=True
    )


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: CircularConvolution(kernel(1, 1, 7, 3), (1, 5, 9)),
            ShapeError,
            "7 x 3 pixels .* 5 x 9",
        ),
        (lambda: CircularConvolution(kernel(1, 1, 2, 3), (1, 5, 9)), ConfigError, "no centre"),
        (
            lambda: CircularConvolution(kernel(1, 3, 3, 3), (2, 5, 9)),
            ShapeError,
            "3 channels .* images of 2",
        ),
        (
            lambda: CircularConvolution(kernel(3, 3), (2, 5, 9)),
            ShapeError,
            r"expects a real kernel .* \(3, 3\)",
        ),
        (lambda: Mask(torch.ones(1, 1, 5)), ShapeError, r"Mask.mask must be real, .* \(1, 1, 5\)"),
        (
            lambda: Downsampling(H, (2, 9, 6), 2),
            ShapeError,
            r"9 x 6 .* factor 2; crop the images to multiples of 2",
        ),
        (lambda: Downsampling(H, (2, 9, 6), 0), ConfigError, "Downsampling.factor = 0"),
    ],
)
def test_bad_operators_say_what_is_wrong(make, error, words):
    with pytest.raises(error, match=words):
        make()
