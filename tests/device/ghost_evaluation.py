"""Evaluation on a simulated device: baselines, metrics and figures, in batches, no mixing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.device.ghost import NAME, Device, ghost_device
from tests.evaluation.test_across_operators import TV, Pictures, context
from unfold.algorithms.pgd import PGD
from unfold.config.build import configure
from unfold.denoisers.dncnn import DnCNN
from unfold.evaluation.across_operators import AcrossOperators
from unfold.evaluation.base import evaluate
from unfold.evaluation.metrics import ImageMetrics
from unfold.evaluation.records import read_rows
from unfold.evaluation.robustness import Robustness
from unfold.evaluation.single_image import reconstruct_simulated
from unfold.fidelities.l2 import L2
from unfold.initialization import BackProjection
from unfold.models.unfolded import Unfolded
from unfold.physics.blur.blur import Blur
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.denoising import Denoising
from unfold.physics.noise.base import Gaussian
from unfold.priors.denoiser_priors import PnP
from unfold.reconstructor import Reconstructor

FEW = replace(TV, count=2, max_iterations=4, search_iterations=4, search_tol=1e-1, images=1)
BLUR = Blur(Gaussian(0.05), GaussianKernel(3, 1.0))


def network(channels=1):
    torch.manual_seed(0)
    return Reconstructor(PGD(), PnP(DnCNN(channels, 2, 4)), L2(), Unfolded(2), BackProjection())


def made(directory, device, physics, evaluation, channels=1):
    where = context(directory / "r" / "s" / device, physics, net=network(channels).to(device))
    scores = evaluate(evaluation, where)
    return scores, read_rows(where.folder / "rows.csv")


AUTO = AcrossOperators({"denoising": Denoising()}, (0.1,), FEW, gallery=1, by_physics=True)
PHYSICS = {
    "blur": lambda: BLUR,
    "multicoil_mri": lambda: configure(["physics=multicoil_mri"]).components.physics,
    "tomography": lambda: configure(["physics=tomography", "physics.angles=8"]).components.physics,
    "compressed_sensing": lambda: configure(["physics=compressed_sensing"]).components.physics,
}


@pytest.mark.parametrize("name", PHYSICS)
def test_an_evaluation_is_that_of_the_cpu(tmp_path, name, monkeypatch):
    monkeypatch.setattr("unfold.evaluation.baselines.EXTENSIONS", 0)
    physics, channels = PHYSICS[name](), 2 if name == "multicoil_mri" else 1
    few = {"blur": None, "tomography": ("linear",)}  # iterations take seconds here
    suite = replace(AUTO, baselines=few.get(name, ("zero_filled",)))
    _, expected = made(tmp_path / "cpu", "cpu", physics, suite, channels)
    with ghost_device():
        _, found = made(tmp_path / "ghost", NAME, physics, suite, channels)
    assert [r.method for r in found] == [r.method for r in expected] and len(found) > 30
    values = ([r.value for r in rows] for rows in (found, expected))
    assert np.allclose(*values, atol=1e-3)


def test_synchronizations_do_not_grow_with_the_images_of_a_batch(tmp_path, monkeypatch):
    counts = []
    for images in (2, 6):
        one = Pictures().examples("test")[0]
        monkeypatch.setattr(
            Pictures,
            "examples",
            lambda self, split, n=images, e=one: [(f"{i}.png", e[1]) for i in range(n)],
        )
        with ghost_device():
            settings = AcrossOperators({}, (), FEW, gallery=0, baselines=())
            made(tmp_path / str(images), NAME, BLUR, settings)
            counts.append(Device.synchronizations)
    assert counts == [0, 0]


def test_wrong_models_and_single_images_on_the_device(tmp_path):
    settings = Robustness((0.3,), noise_level=(1.0,), images=1, steps=1, lr=1e-2)
    _, expected = made(tmp_path / "cpu", "cpu", BLUR, settings)
    with ghost_device():
        _, found = made(tmp_path / "ghost", NAME, BLUR, settings)
        truth = Pictures().images("test")[0][1]
        out = tmp_path / "out.png"
        reconstruct_simulated(network().to(NAME), BLUR, truth, out, ImageMetrics(), 0)
    values = ([r.value for r in rows] for rows in (found, expected))
    assert np.allclose(*values, atol=1e-2) and out.is_file()
