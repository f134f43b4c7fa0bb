"""Noise relative to the measurement, and matrices: their weights, their files."""

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from numpy.testing import assert_allclose

from unfold.physics.custom.matrix import Dense, MatrixPhysics
from unfold.physics.noise.base import NoNoise
from unfold.physics.noise.relative import RelativeGaussian, SignalToNoise
from unfold.random import Draws


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("snr", [20.0, 0.0])
def test_the_noise_is_as_much_below_the_signal_as_stated(snr, is_complex):
    scales = torch.tensor([0.1, 3.0])[:, None]
    v = (scales * torch.randn(2, 40_000) + 5).to(torch.complex64 if is_complex else torch.float32)
    draws = Draws(0, (0, 1))
    for noise, sigma in (
        (SignalToNoise(snr), np.std(v.numpy(), 1) * 10 ** (-snr / 20)),
        (RelativeGaussian(0.05), 0.05 * np.abs(v.numpy()).mean(1)),
    ):
        y = noise.apply(v, draws)
        assert y.dtype == v.dtype
        assert_allclose(rms(y - v), sigma, rtol=0.02)
        moments = noise.moments(v, draws)
        assert_allclose(moments.variance[:, 0], sigma**2, rtol=1e-3)
        assert torch.equal(noise.apply(v[1:], draws.take([1])), y[1:])


def rms(t):
    return np.sqrt((np.abs(t.numpy()) ** 2).mean(1))


def test_analytic_weights_are_the_minimum_under_their_condition():
    M = np.random.default_rng(0).standard_normal((12, 30))
    W = Dense(torch.from_numpy(M)[None], (1, 5, 6)).analytic[0].numpy()
    assert_allclose((W * M).sum(0), 1, atol=1e-12)
    # The gradient of ‖WᵀM‖² is in the span of the conditions: of each column along m_i.
    gradient = M @ M.T @ W
    along = (gradient * M).sum(0) / (M * M).sum(0)
    assert_allclose(gradient, along * M, atol=1e-9)


def test_analytic_weights_agree_with_those_of_the_authors():
    folder = Path(os.environ.get("UNFOLD_DATA", "missing")) / "sparse"
    if not folder.is_dir():
        pytest.skip("UNFOLD_DATA names no folder with sparse/")
    shape = (1, 1, 500)
    operator = MatrixPhysics(NoNoise(), str(folder / "D.mat"), shape).sample(Draws(0, (0,)), shape)
    M, theirs = operator.matrix[0].numpy(), np.load(folder / "W.npy")
    ours = operator.analytic[0].numpy()
    theirs = theirs / (theirs * M).sum(0)  # their iteration stops at a diagonal of 0.998
    assert_allclose(ours, theirs, atol=4e-4)
    assert np.linalg.norm(ours.T @ M) <= np.linalg.norm(theirs.T @ M) * (1 + 1e-6)


def test_a_matrix_of_a_mat_file_is_prepared_once(tmp_path):
    M = np.random.default_rng(0).standard_normal((3, 6))
    scipy.io.savemat(tmp_path / "m.mat", {"D": M})
    physics = MatrixPhysics(NoNoise(), str(tmp_path / "m.mat"), (1, 2, 3))
    with torch.inference_mode():  # as a validation before the first step
        first = physics.sample(Draws(0, (0,)), (1, 2, 3))
    assert_allclose(first.matrix[0], M, rtol=1e-6)
    assert physics.sample(Draws(1, (4, 5), epoch=2), (1, 2, 3)) is first
    assert physics.sample(Draws(0, (0,), dtype=torch.float64), (1, 2, 3)) is not first
    x = torch.rand(2, 1, 2, 3, requires_grad=True)
    (first.norm_squared * first.A_adjoint(first.A(x))).sum().backward()
    assert x.grad is not None
    assert_allclose(first.norm_squared, [np.linalg.norm(M, 2) ** 2], rtol=1e-4)
