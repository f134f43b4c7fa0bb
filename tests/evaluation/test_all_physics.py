"""Evaluation with every kind of forward model: noises, files, sizes, mixtures, metrics."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from tests.evaluation.test_across_operators import TV, Pictures, baselines, context, network
from unfold.cli.dry_run import dry_run
from unfold.config.build import build, verify
from unfold.config.compose import compose
from unfold.errors import ConfigError, ShapeError
from unfold.evaluation.across_operators import AcrossOperators
from unfold.evaluation.base import evaluate
from unfold.evaluation.baselines import Baselines
from unfold.evaluation.metrics import ImageMetrics
from unfold.evaluation.single_image import read_cropped, read_measurement, reconstruct_simulated
from unfold.physics.blur.blur import Blur
from unfold.physics.blur.kernel_files import KernelFile
from unfold.physics.denoising import Denoising
from unfold.physics.mri.cartesian import MultiCoilMRI
from unfold.physics.mri.sampling import RandomColumns
from unfold.physics.noise.base import Gaussian
from unfold.physics.noise.signal_dependent import Poisson, PoissonGaussian


def test_only_noise_with_a_standard_deviation_takes_other_levels():
    forward_models = {
        "counts": Denoising(Poisson(50.0)),
        "both": Denoising(PoissonGaussian(100.0, 0.02)),
    }
    found = AcrossOperators(forward_models, (0.1, 0.2)).conditions(Denoising(Gaussian(0.1)), "here")
    assert [(c.name, c.noise, c.physics.noise) for c in found[1:]] == [
        ("counts", "its own", Poisson(50.0)),
        ("both", "0.1", PoissonGaussian(100.0, 0.1)),
        ("both", "0.2", PoissonGaussian(100.0, 0.2)),
    ]


def test_a_changed_kernel_file_has_its_own_baseline(tmp_path):
    file = tmp_path / "kernel.npy"
    found = []
    for kernel in (np.eye(3), np.ones((3, 3))):
        np.save(file, kernel)
        physics = Blur(Gaussian(0.05), KernelFile(str(file)))
        found.append(baselines(tmp_path / "cache").tuned("tv", physics).images[0])
    assert not torch.equal(*found)


@dataclass(frozen=True)
class WholeOnly(Denoising):
    """Takes images of one size, as a matrix does."""

    def sample(self, draws, shape):
        if shape != (1, 16, 16):
            raise ShapeError(f"expects (1, 16, 16), got {shape}.")
        return super().sample(draws, shape)


def test_total_variation_is_tuned_on_images_that_the_operator_accepts(tmp_path):
    data = Pictures()
    images = data.examples("validation"), data.examples("test")
    crops = [
        Baselines(replace(TV, crop=10), *images, "squares", 0, tmp_path, multiple)._tuning_images(
            physics
        )
        for physics, multiple in ((Denoising(Gaussian(0.1)), 4), (WholeOnly(Gaussian(0.1)), 1))
    ]
    assert [crop[0][1].image.shape[-1] for crop in crops] == [8, 16]


def test_without_psnr_the_first_metric_is_the_headline(tmp_path):
    evaluation = AcrossOperators({}, (), tv=TV, gallery=0)
    metrics = ImageMetrics(names=("nmse",))
    figures = evaluate(evaluation, context(tmp_path / "runs" / "slug" / "abc", metrics=metrics))
    better = figures["test/tv nmse"] - figures["test/nmse"]
    assert figures["test/gain over tv"] == pytest.approx(better)


def test_amplitudes_are_refused_before_training():
    words = ["physics=phase_retrieval", "fidelity=amplitude", "start=spectral", "algo=gd"]
    (checked,) = verify(compose([*words, "prior=red", "evaluation=across_operators"]))
    with pytest.raises(ConfigError, match=r"PhaseRetrieval measures amplitudes.*Use NoEvaluation"):
        dry_run(build(checked), 0)


def test_measurements_that_are_no_images_are_written_too(tmp_path):
    photo = tmp_path / "photo.png"
    PillowImage.fromarray(np.full((16, 16), 90, np.uint8)).save(photo)
    physics = MultiCoilMRI(Gaussian(0.01), RandomColumns(2.0, 0.2), coils=3)
    truth, out = read_cropped(photo, 1, 1), tmp_path / "out.png"
    reconstruct_simulated(network(), physics, truth, out, ImageMetrics(), 0)
    y = read_measurement(tmp_path / "out_measurement.npz", 1)
    assert y.is_complex() and y.shape == (1, 3, 16, 16)
    np.save(tmp_path / "vector.npy", np.arange(5.0))
    assert read_measurement(tmp_path / "vector.npy", 1).shape == (5,)
