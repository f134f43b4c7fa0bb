"""Learned thresholding of sparse codes: its metric, its baseline, its training in stages."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from unfold.algorithms.fista import FISTA
from unfold.data.own import ArrayExamples
from unfold.evaluation.metrics import ImageMetrics, objective_mode
from unfold.evaluation.set_metrics import SetNMSE
from unfold.fidelities.l2 import L2
from unfold.initialization import Zero
from unfold.models.unfolded import Unfolded
from unfold.parameters.schedules import BeckTeboulle
from unfold.parameters.select import Trainable
from unfold.physics.custom.matrix import MatrixPhysics
from unfold.physics.noise.base import NoNoise
from unfold.priors.l1 import L1
from unfold.random import Draws
from unfold.reconstructor import Reconstructor


def test_the_nmse_of_a_set_is_a_ratio_of_sums():
    g = np.random.default_rng(0)
    truth = g.standard_normal((6, 1, 1, 9)) * np.arange(1, 7)[:, None, None, None]
    x = truth + 0.1 * g.standard_normal(truth.shape)
    metric = SetNMSE()
    for part in (slice(0, 4), slice(4, 6)):  # batches of unequal size
        metric.update(torch.from_numpy(x[part]), torch.from_numpy(truth[part]))
    want = 10 * np.log10(((x - truth) ** 2).sum() / (truth**2).sum())
    assert_allclose(float(metric.compute()), want, rtol=1e-12)
    mean = 10 * np.log10(np.mean(((x - truth) ** 2).sum(3) / (truth**2).sum(3)))
    assert abs(want - mean) > 1
    names = ImageMetrics(names=("nmse",), over_set=("set_nmse_db",)).all_names
    assert objective_mode("validation/set_nmse_db", names) == "min"


def data(name: str) -> str:
    folder = Path(os.environ.get("UNFOLD_DATA", "missing")) / "sparse"
    if not folder.is_dir():
        pytest.skip("UNFOLD_DATA names no folder with sparse/")
    return str(folder / name)


def test_sixteen_iterations_of_fista_have_the_figure_that_is_learned_to_beat():
    x = ArrayExamples(data("xtest_n500_p10.npy"), 500).images
    physics = MatrixPhysics(NoNoise(), data("D.mat"), (1, 1, 500))
    fista = FISTA(lambda_reg=0.2, momentum=BeckTeboulle())
    net = Reconstructor(fista, L1(), L2(), Unfolded(16), Zero(), Trainable(learn=()))
    with torch.no_grad():
        found = net(*physics.measure(x, Draws(0, range(len(x)))))
    metric = SetNMSE()
    metric.update(found, x)
    assert_allclose(float(metric.compute()), -10.9, atol=0.2)
