"""Metrics are of one image at a time, on a stated range."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from unfold.data.example import Example, stack
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


def complex_pair() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    truth = torch.randn(3, 1, 24, 20, generator=g, dtype=torch.complex64)
    truth *= torch.tensor([0.2, 1.0, 7.0]).reshape(3, 1, 1, 1)
    return truth + 0.1 * torch.randn(truth.shape, generator=g, dtype=truth.dtype), truth


def test_the_complex_nmse_sees_the_phase_and_is_numpys():
    x, truth = complex_pair()
    found = ImageMetrics(("nmse", "complex_nmse"), border=2)(x * 1j, truth)
    a, b = ((t.numpy()[..., 2:-2, 2:-2]) for t in (x * 1j, truth))
    for i in range(3):
        want = np.sum(np.abs(a[i] - b[i]) ** 2) / np.sum(np.abs(b[i]) ** 2)
        assert float(found["complex_nmse"][i]) == pytest.approx(want, rel=1e-5)
        a_, b_ = np.abs(a[i]), np.abs(b[i])
        want = np.sum((a_ - b_) ** 2) / np.sum(b_**2)
        assert float(found["nmse"][i]) == pytest.approx(want, rel=1e-5)
    assert torch.equal(*ImageMetrics(("nmse", "complex_nmse"))(x.abs(), truth.abs()).values())


def test_the_range_may_be_the_maximum_of_each_true_image_or_of_its_volume():
    x, truth = (t.abs() for t in complex_pair())
    volume = torch.tensor([torch.nan, 6.0, 30.0])
    for maximum in (None, volume):
        found = ImageMetrics(("psnr", "ssim", "nmse"), "max")(x, truth, maximum)
        for i in range(3):
            a, b = x[i, 0].numpy(), truth[i, 0].numpy()
            R = float(b.max()) if maximum is None or i == 0 else float(maximum[i])
            want = peak_signal_noise_ratio(b, a, data_range=R)
            assert float(found["psnr"][i]) == pytest.approx(want, abs=1e-3)
            assert float(found["ssim"][i]) == pytest.approx(
                float(ssim(x[i : i + 1], truth[i : i + 1], R)), abs=1e-4
            )
            assert float(found["nmse"][i]) == pytest.approx(
                np.sum((a - b) ** 2) / np.sum(b**2), rel=1e-4
            )


def test_a_range_is_stated_and_one_of_numbers_of_8_bits_refused():
    assert ImageMetrics(data_range=2.0).note == "range of psnr and ssim: 2."
    assert "the maximum of the true image" in ImageMetrics(data_range="max").note
    black = torch.zeros(1, 1, 16, 16)
    assert ImageMetrics(("psnr",), "max")(black + 0.1, black)["psnr"].isnan()
    for wrong in (0.0, 255.0):
        with pytest.raises(ConfigError, match=r"data_range = .*: must be in \(0, 16\], or max"):
            ImageMetrics(data_range=wrong)


def test_the_maximum_of_a_volume_comes_with_its_examples_in_their_scale():
    x = torch.zeros(1, 4, 4)
    known = Example(x, metadata={"maximum": 6.0, "scale": 2.0})
    found = stack([known, Example(x)])
    assert float(found.maximum[0]) == 3 and found.maximum[1].isnan()
    assert found.map(lambda t: t[:1]).maximum.tolist() == [3.0]
    assert stack([Example(x)]).maximum is None
