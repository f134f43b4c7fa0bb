"""Metrics are of one image at a time, on a stated range."""

import pytest
import torch
from skimage.metrics import structural_similarity

from unfold.errors import ConfigError, ShapeError
from unfold.evaluation.metrics import ImageMetrics, psnr, ssim


def pair(*errors, size=16):
    truth = torch.rand(len(errors), 1, size, size, generator=torch.Generator().manual_seed(0))
    return truth + torch.tensor(errors).reshape(-1, 1, 1, 1), truth


def test_psnr_is_the_formula_for_each_image():
    torch.testing.assert_close(
        psnr(*pair(0.1, 0.01), 1.0), torch.tensor([20.0, 40.0]), atol=1e-3, rtol=0
    )


def test_the_value_of_a_set_is_the_mean_over_its_images():
    values = ImageMetrics(("psnr",))(*pair(0.1, 0.01))["psnr"]
    assert float(values.mean()) == pytest.approx(30.0, abs=1e-3)  # pooled over pixels it is 22.97


def test_ssim_agrees_with_another_implementation_inside():
    x, truth = pair(0.0, size=64)
    x = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    other = structural_similarity(
        x[0, 0].numpy(),
        truth[0, 0].numpy(),
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert float(ssim(x, truth, 1.0)) == pytest.approx(other, abs=5e-3)


def test_the_border_is_left_out():
    x, truth = pair(0.0)
    x[..., 0, :] += 1
    assert float(ImageMetrics(("nmse",), border=1)(x, truth)["nmse"]) == 0
    assert float(ImageMetrics(("nmse",))(x, truth)["nmse"]) > 0


def test_complex_images_are_compared_by_their_magnitude():
    x, truth = pair(0.1)
    values = ImageMetrics(("psnr",))(x * 1j, truth.to(torch.complex64))
    assert float(values["psnr"]) == pytest.approx(20.0, abs=1e-3)


def test_shapes_that_broadcasting_would_hide_are_refused():
    x, truth = pair(0.1, 0.1)
    with pytest.raises(ShapeError, match=r"one shape, got \(1, 1, 16, 16\) and \(2, 1, 16, 16\)"):
        ImageMetrics()(x[:1], truth)


def test_an_unknown_metric_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown metric 'psnrr', did you mean 'psnr'\?"):
        ImageMetrics(("psnrr",))
