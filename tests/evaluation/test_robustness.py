"""Wrong models of the measurement: each is wrong by what it says, and the sweep measures it."""

import csv
import re

import pytest
import torch

from tests.evaluation.test_across_operators import Pictures, context, network
from tests.operator_properties import gap
from unfold.cli.dry_run import dry_run
from unfold.config.build import build, verify
from unfold.config.compose import compose
from unfold.errors import ConfigError
from unfold.evaluation.base import evaluate
from unfold.evaluation.metrics import ImageMetrics
from unfold.evaluation.robustness import CoilErrors, KernelWidth, MaskErrors, NoiseLevel, Robustness
from unfold.physics.blur.blur import Blur
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.blur.super_resolution import SuperResolution
from unfold.physics.denoising import Denoising
from unfold.physics.inpainting import Inpainting
from unfold.physics.mri.cartesian import MultiCoilMRI
from unfold.physics.mri.sampling import RandomColumns
from unfold.physics.noise.base import Gaussian, NoNoise
from unfold.physics.noise.signal_dependent import Poisson
from unfold.random import Draws

DRAWS = Draws(0, range(4), dtype=torch.float64)


def variance(h):
    u = torch.arange(h.shape[-1], dtype=h.dtype) - h.shape[-1] // 2
    return (h.sum(-2) * u**2).sum(-1)


@pytest.mark.parametrize("strength", [0.1, 0.3])
def test_the_assumed_kernel_is_wider(strength):
    physics = Blur(Gaussian(0.1), GaussianKernel(41, (3.0, 4.0)))
    right = physics.sample(DRAWS, (1, 48, 48))
    wrong = KernelWidth((strength,)).assumed(right, strength, DRAWS)
    assert gap(wrong.kernel.sum((-2, -1)), right.kernel.sum((-2, -1))) < 1e-12
    assert gap(variance(wrong.kernel), variance(right.kernel) * (1 + strength) ** 2) < 0.02
    inner = SuperResolution(Gaussian(0.1), GaussianKernel(5, 1.0), 2).sample(DRAWS, (1, 16, 16))
    caught = KernelWidth((strength,)).assumed(inner, strength, DRAWS)
    assert type(caught) is type(inner) and gap(caught.kernel, inner.kernel) > 0.01


def test_a_share_of_the_assumed_mask_is_flipped():
    right = Inpainting(Gaussian(0.1), 0.7).sample(DRAWS, (2, 32, 32))
    wrong = MaskErrors((0.1,)).assumed(right, 0.1, DRAWS)
    flipped = (wrong.mask != right.mask).double()
    assert torch.equal(flipped[:, 0], flipped[:, 1]) and 0.08 < flipped.mean() < 0.12
    assert set(wrong.mask.unique().tolist()) == {0.0, 1.0}
    alone = MaskErrors((0.1,)).assumed(right.take(torch.tensor([2]), 4), 0.1, DRAWS.take([2]))
    assert torch.equal(alone.mask, wrong.mask[2:3])


def test_assumed_coil_maps_have_the_relative_error():
    right = MultiCoilMRI(Gaussian(0.1), RandomColumns(), 8).complex_operator(DRAWS, (1, 32, 32))
    one, two = (
        CoilErrors((0.1,)).assumed(right, s, DRAWS).maps / right.maps - 1 for s in (0.1, 0.2)
    )
    assert gap(two, 2 * one) < 1e-12
    assert 0.05 < one.abs().square().mean().sqrt() < 0.15
    assert (one[..., 1:] - one[..., :-1]).abs().max() < 0.1


def test_noise_is_stronger_than_assumed():
    mismatch = NoiseLevel((0.5,))
    assert mismatch.actual(Denoising(Gaussian(0.1)), 0.5).noise.sigma == pytest.approx(0.15)
    ranged = mismatch.actual(Denoising(Gaussian((0.1, 0.2))), 0.5).noise
    assert ranged.sigma == pytest.approx((0.15, 0.3))
    assert mismatch.actual(Denoising(NoNoise()), 0.5) is None


def test_strengths_are_checked():
    with pytest.raises(ConfigError, match=r"MaskErrors.strengths = \[2.0\]: each must be in"):
        MaskErrors((2.0,))
    with pytest.raises(ConfigError, match=r"KernelWidth.strengths = \[\]: name at least one"):
        KernelWidth(())
    with pytest.raises(ConfigError, match=re.escape("mismatches = {}: name at least one")):
        Robustness({})
    physics = Denoising(Poisson(0.1))
    with pytest.raises(ConfigError, match="Denoising has nothing that kernel could be wrong"):
        Robustness({"kernel": KernelWidth((0.1,))}).check(
            network(), physics, physics.sample(DRAWS, (1, 8, 8))
        )


def test_every_image_mismatch_and_strength_has_its_row(tmp_path):
    physics = Blur(Gaussian(0.05), GaussianKernel(7, 1.0))
    settings = Robustness(
        {
            "noise": NoiseLevel((1.0, 8.0)),
            "kernel": KernelWidth((0.3,)),
            "mask": MaskErrors((0.1,)),
        }
    )
    net = network()
    metrics = ImageMetrics(("psnr",))
    scores = evaluate(settings, context(tmp_path / "run", physics, metrics, net, "blur"))
    with (tmp_path / "run/evaluation/robustness.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    measured = {(r["mismatch"], r["strength"]) for r in rows}
    assert measured == {
        ("matched", "0.0"),
        ("noise", "1.0"),
        ("noise", "8.0"),
        ("kernel", "0.3"),
    }
    assert len(rows) == 4 * 3 and {r["trained_on"] for r in rows} == {"blur"}
    x = Pictures().images("test")[0][1][None]
    y, operator = physics.measure(x, Draws(0, [0], "test"))
    with torch.no_grad():
        own = ImageMetrics(("psnr",))(net(y, operator), x)["psnr"]
    assert float(rows[0]["value"]) == pytest.approx(float(own), abs=1e-3)
    assert scores["test/psnr, noise 8"] < scores["test/psnr"]
    text = (tmp_path / "run/evaluation/robustness.md").read_text()
    assert "| kernel |" in text and "nan" not in text and "mask" not in text
    assert (tmp_path / "run/evaluation/robustness.png").stat().st_size > 5000


def test_mismatches_that_do_not_apply_are_refused_before_training():
    words = ("physics=denoising", "physics/noise=none", "evaluation=robustness")
    checked = verify(compose(words))[0]
    with pytest.raises(ConfigError, match=r"Denoising has nothing that .*noise_level"):
        dry_run(build(checked), 0)
