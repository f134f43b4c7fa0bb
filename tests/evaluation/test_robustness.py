"""Wrong models of the measurement: each is wrong by what it says, and a table shows it."""

import re
from types import SimpleNamespace

import pytest
import torch

from tests.evaluation.test_across_operators import Pictures, context, network
from tests.operator_properties import gap
from tests.physics.instances import physics_of
from unfold.algorithms.pgd import PGD
from unfold.cli.dry_run import dry_run
from unfold.config.build import build, verify
from unfold.config.compose import compose
from unfold.data.example import Example
from unfold.data.image_data import EmbeddedData
from unfold.errors import ConfigError
from unfold.evaluation.base import Condition, batches, evaluate
from unfold.evaluation.metrics import ImageMetrics
from unfold.evaluation.records import mean, read_rows
from unfold.evaluation.robustness import MISTAKEN, Robustness, fields_of
from unfold.fidelities.l2 import L2
from unfold.initialization import BackProjection
from unfold.models.unfolded import Unfolded
from unfold.physics.blur.blur import Blur
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.blur.super_resolution import SuperResolution
from unfold.physics.ct.tomography import Tomography
from unfold.physics.denoising import Denoising
from unfold.physics.inpainting import Inpainting
from unfold.physics.mixture import Mixture, PerFamilyNoise
from unfold.physics.noise.base import Gaussian, NoNoise
from unfold.physics.noise.signal_dependent import Poisson, PoissonGaussian
from unfold.priors.wavelet import Wavelet
from unfold.random import Draws
from unfold.reconstructor import Reconstructor

DRAWS = Draws(0, range(4), dtype=torch.float64)
widened, disturbed = MISTAKEN["kernel_width"], MISTAKEN["coil_maps"]


def variance(h):
    u = torch.arange(h.shape[-1], dtype=h.dtype) - h.shape[-1] // 2
    return (h.sum(-2) * u**2).sum(-1)


@pytest.mark.parametrize("strength", [0.1, 0.3])
def test_the_assumed_kernel_is_wider(strength):
    physics = Blur(Gaussian(0.1), GaussianKernel(41, (3.0, 4.0)))
    right = physics.sample(DRAWS, (1, 48, 48))
    wrong = widened(right, strength)
    assert gap(wrong.kernel.sum((-2, -1)), right.kernel.sum((-2, -1))) < 1e-12
    assert gap(variance(wrong.kernel), variance(right.kernel) * (1 + strength) ** 2) < 0.02
    inner = SuperResolution(Gaussian(0.1), GaussianKernel(5, 1.0), 2).sample(DRAWS, (1, 16, 16))
    caught = widened(inner, strength)
    assert type(caught) is type(inner) and gap(caught.kernel, inner.kernel) > 0.01


@torch.no_grad()
def test_a_kernel_inside_a_mixture_is_wider_for_the_images_that_have_one():
    families = {
        "blur": Blur(Gaussian(0.1), GaussianKernel(5, 1.0)),
        "none": Inpainting(Gaussian(0.1)),
    }
    operator = Mixture(PerFamilyNoise(), families).sample(DRAWS, (1, 8, 8))
    x = torch.rand(4, 1, 8, 8, dtype=torch.float64)
    moved = (widened(operator, 0.5).A(x) - operator.A(x)).flatten(1).any(1)
    blurred = [hasattr(operator.operators[k], "kernel") for k in operator.family]
    assert moved.tolist() == blurred and len(set(blurred)) == 2
    plain = Inpainting(Gaussian(0.1)).sample(DRAWS, (1, 8, 8))
    assert widened(plain, 0.5) is plain


@pytest.mark.parametrize("strength", [0.05, 0.2])
def test_the_assumed_coil_maps_are_off_by_a_smooth_factor(strength):
    right = physics_of("multicoil_mri").complex_operator(DRAWS, (1, 64, 64))
    factor = disturbed(right, strength).maps / right.maps
    error = (factor - 1).abs().square().mean(dim=(-2, -1)).sqrt()  # of each coil, of few numbers
    assert 0.3 * strength < float(error.min()) and float(error.max()) < 3 * strength
    assert float(factor.diff(dim=-1).abs().max()) < strength / 2
    plain = Inpainting(Gaussian(0.1)).sample(DRAWS, (1, 8, 8))
    assert disturbed(plain, strength) is plain


def noises(physics):
    found = Robustness(mask=(), noise_level=(0.5,))._conditions(
        physics, physics.sample(DRAWS, (1, 8, 8))
    )
    return [condition.physics.noise for condition in found][1:]


def test_noise_is_stronger_than_assumed():
    assert noises(Denoising(Gaussian(0.1)))[0].sigma == pytest.approx(0.15)
    assert noises(Denoising(Gaussian((0.1, 0.2))))[0].sigma == pytest.approx((0.15, 0.3))
    assert noises(Denoising(PoissonGaussian(100.0, 0.02))) == [PoissonGaussian(100.0, 0.03)]
    assert noises(Denoising(NoNoise())) == []


def test_strengths_are_checked():
    with pytest.raises(ConfigError, match=re.escape("kernel_width = [0.1, 0.0]: must be positive")):
        Robustness((0.1, 0.0))
    physics = Denoising(Poisson(0.1))
    with pytest.raises(ConfigError, match="Denoising has no kernel, coil maps, mask, axis"):
        Robustness().check(network(), physics, physics.sample(DRAWS, (1, 8, 8)))


def test_every_image_mismatch_and_strength_has_its_row(tmp_path):
    physics = Blur(Gaussian(0.05), GaussianKernel(7, 1.0))
    net, metrics = network(), ImageMetrics(("psnr",))
    where = context(tmp_path / "run", physics, metrics, net, "blur")
    scores = evaluate(Robustness((0.3,), noise_level=(1.0, 8.0), steps=2), where)
    rows = read_rows(tmp_path / "run/evaluation/rows.csv")
    strengths = {
        ("matched", "0"),
        ("noise_level", "1"),
        ("noise_level", "8"),
        ("kernel_width", "0.3"),
    }
    assert {(r.tested_on, r.noise) for r in rows} == strengths
    assert (
        sum(r.method == "ours" for r in rows) == 4 * 3
        and len(rows) == 4 * 3 + 6 * 3
        and {r.trained_on for r in rows} == {"blur"}
    )
    x = Pictures().images("test")[0][1][None]
    y, operator = physics.measure(x, Draws(0, [0], "test"))
    with torch.no_grad():
        own = ImageMetrics(("psnr",))(net(y, operator), x)["psnr"]
    assert rows[0].value == pytest.approx(float(own), abs=1e-3)
    assert scores["test/psnr, noise_level 8"] < scores["test/psnr"]
    text = (tmp_path / "run/evaluation/robustness_psnr.md").read_text()
    assert (
        text.startswith("| psnr: mismatch") and "| kernel_width 0.3 |" in text and "nan" not in text
    )


def test_mismatches_that_do_not_apply_are_refused_before_training():
    words = ("physics=denoising", "physics/noise=none", "evaluation=robustness")
    checked = verify(compose(words))[0]
    with pytest.raises(ConfigError, match=r"Denoising has no kernel, coil maps, mask, axis"):
        dry_run(build(checked), 0)


def method_means(rows, tested, strength):
    place = [r for r in rows if (r.tested_on, r.noise, r.metric) == (tested, strength, "psnr")]
    return {m: mean([r for r in place if r.method == m], "psnr") for m in {r.method for r in place}}


def test_four_scenarios_of_a_wrong_kernel_and_axis(tmp_path):
    classical = Reconstructor(PGD(lambda_reg=1e-3), Wavelet("haar", 1), L2(), Unfolded(30))
    physics = Blur(Gaussian(0.01), GaussianKernel(7, 1.0))
    where = context(tmp_path / "run", physics, net=classical, trained_on="blur")
    evaluate(Robustness((0.5,), noise_level=(2.0,), images=1, steps=3), where)
    rows = read_rows(tmp_path / "run/evaluation/rows.csv")
    found = method_means(rows, "kernel_width", "0.5")
    assert found["ours"] < found["corrected"] and set(found) == {"ours", "corrected", "calibrated"}
    assert set(method_means(rows, "noise_level", "2")) == {"ours", "corrected", "calibrated"}
    assert set(method_means(rows, "matched", "0")) == {"ours"}
    assert {r.image for r in rows} == {"6.png"}
    (head, _, line, *_) = (tmp_path / "run/evaluation/robustness_psnr.md").read_text().splitlines()
    assert "| ideal | mismatched | corrected | calibrated | lost | won back in % |" in head
    ideal, wrong, right, fitted, lost, won = map(float, line.split("|")[2:8])
    assert lost == pytest.approx(ideal - wrong, abs=0.02)
    assert won == pytest.approx(100 * (fitted - wrong) / (right - wrong), abs=2)


@torch.no_grad()
def test_the_measurement_is_of_the_other_operator_with_the_same_noise(tmp_path):
    physics = Blur(Gaussian(0.05), GaussianKernel(7, 1.0))
    where = context(tmp_path / "run", physics)
    batch = next(where.test_batches()).part(slice(2))
    condition = Condition("kernel_width", "0.3", physics)
    right, assumed = Robustness()._measured(where, condition, batch)
    y, operator = physics.measure(batch.images, Draws(0, batch.positions, "test"))
    noise = y - operator.A(batch.images)
    expected = MISTAKEN["kernel_width"](operator, 0.3).A(batch.images) + noise
    assert torch.allclose(right.y, expected, atol=1e-6) and torch.equal(right.y, assumed.y)
    assert torch.equal(assumed.operator.kernel, operator.kernel)


def test_masks_and_axes_are_moved(tmp_path):
    mask = physics_of("multicoil_mri").complex_operator(DRAWS, (1, 8, 8))
    assert torch.equal(MISTAKEN["mask"](mask, 1.0).mask, mask.mask.roll(1, -1))
    scan = Tomography(Gaussian(0.01), 6)
    names = [
        (c.name, c.noise) for c in Robustness()._conditions(scan, scan.sample(DRAWS, (1, 8, 8)))
    ]
    assert ("axis", "0.5") in names and not [n for n, _ in names if n in ("mask", "kernel_width")]
    where = context(tmp_path / "run", scan, net=network(start=BackProjection()), trained_on="ct")
    settings = Robustness(axis=(1.0,), noise_level=(), images=1, steps=1)
    evaluate(settings, where)
    rows = read_rows(tmp_path / "run/evaluation/rows.csv")
    assert set(method_means(rows, "axis", "1")) == {"ours", "corrected", "calibrated"}


def test_the_card_calibrates_a_kernel_half_as_wide_again_by_more_than_half():
    net = Reconstructor(PGD(lambda_reg=1e-3), Wavelet("haar", 1), L2(), Unfolded(12)).eval()
    physics = Blur(Gaussian(0.01), GaussianKernel(7, 1.0))
    where = SimpleNamespace(physics=physics, seed=0, reconstructor=net)
    photograph = EmbeddedData(0).examples("test")[0][1].image[..., 64:160, 64:160]
    batch = next(batches([("0", Example(photograph))]))
    condition = Condition("kernel_width", "0.5", physics)
    right, assumed = Robustness()._measured(where, condition, batch)
    fitted = Robustness()._fit(where, "kernel", batch, assumed, 0)
    h, wrong, found = (next(fields_of(c.operator, "kernel")) for c in (right, assumed, fitted))
    assert float((found - h).norm()) < 0.5 * float((wrong - h).norm())
