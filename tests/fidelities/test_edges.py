"""Photon counts at the edge of their domain, and amplitudes, which are not convex."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import poisson

from tests.engine import DOUBLE, difference, normal, uniform
from unfold.errors import ConfigError
from unfold.fidelities.amplitude import Amplitude
from unfold.fidelities.poisson import PoissonFidelity

either_kind = pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])


def row(*numbers: float) -> torch.Tensor:
    return torch.tensor([numbers], dtype=DOUBLE)


def test_poisson_is_the_likelihood_of_scipy_up_to_a_constant():
    rate, counts = 5 * uniform(1, 6) + 0.2, torch.arange(6.0, dtype=DOUBLE)[None]

    def minus_log(rate: torch.Tensor) -> float:
        return -float(np.sum(poisson.logpmf(counts.numpy(), rate.numpy() + 0.5)))

    d, other = PoissonFidelity(0.5), uniform(1, 6, seed=4)
    got = float(d.value(rate, counts)) - float(d.value(other, counts))
    assert got == pytest.approx(minus_log(rate) - minus_log(other))
    assert float(d.value(counts - 0.5, counts)) == pytest.approx(0.0, abs=1e-14)


def test_poisson_at_the_edge_of_its_domain():
    d = PoissonFidelity()
    assert d.value(row(0.0, 0.3), row(0.0, 0.0)).item() == pytest.approx(0.3)
    assert d.value(row(0.0), row(1.0)).item() == math.inf
    assert d.value(row(-0.1), row(0.0)).item() == math.inf
    grad = d.grad(row(0.0, 0.3, 0.0, -0.1, -0.1), row(0.0, 0.0, 1.0, 1.0, 0.0))[0].tolist()
    assert grad[:3] == [1.0, 1.0, -math.inf] and all(map(math.isnan, grad[3:]))
    at = row(0.0, 0.3).requires_grad_()
    (slope,) = torch.autograd.grad(d.value(at, row(0.0, 0.0)).sum(), at)
    assert slope.tolist() == [[1.0, 1.0]]


def test_poisson_proxes_are_accurate_where_terms_cancel():
    # r² − sr − p = 0 for s = ∓1e8 and p = 1: the small root is 1e-8, the large one 1e8
    d, y = PoissonFidelity(), row(1.0)
    assert d.prox(row(1.0 - 1e8), y, 1.0).item() == pytest.approx(1e-8, rel=1e-12)
    assert 1 - d.prox_conj(row(1.0 + 1e8), y, 1.0).item() == pytest.approx(1e-8, rel=1e-6)
    assert d.prox(row(0.0, -5.0), row(0.0, 0.0), 0.0).tolist() == [[0.0, 0.0]] or (
        float(d.prox(row(0.0, -5.0), row(0.0, 0.0), 0.0).abs().max()) < 1e-150
    )


@either_kind
@pytest.mark.parametrize("gamma", [0.1, 1.0, 20.0])
def test_the_amplitude_prox_is_the_best_of_a_grid(gamma: float, dtype: torch.dtype):
    v, y = normal(1, 6, dtype=dtype), uniform(1, 6, seed=2)
    y[0, 0] = -0.5  # noise may lead below 0
    got = Amplitude().prox(v, y, gamma)[0]
    radii = torch.linspace(-4, 4, 1601, dtype=DOUBLE)
    angles = torch.linspace(0, math.pi, 181 if dtype.is_complex else 1, dtype=DOUBLE)
    grid = (radii[:, None] * torch.exp(1j * angles)).flatten()
    grid = grid if dtype.is_complex else grid.real
    for i in range(6):
        cost = 0.5 * gamma * (grid.abs() - y[0, i]) ** 2 + 0.5 * (grid - v[0, i]).abs() ** 2
        own = 0.5 * gamma * (got[i].abs() - y[0, i]) ** 2 + 0.5 * (got[i] - v[0, i]).abs() ** 2
        assert float(own) <= float(cost.min()) + 1e-12
        assert float(own) >= float(cost.min()) - 2e-3 * (1 + gamma)  # the grid is as fine as that


@either_kind
def test_amplitudes_ignore_the_phase_and_vanish_at_the_measurement(dtype: torch.dtype):
    v = normal(2, 1, 3, 4, dtype=dtype)
    d, y = Amplitude(), normal(2, 1, 3, 4, seed=2).abs()
    assert difference(d.value(-v, y), d.value(v, y)) < 1e-15
    assert float(d.value(v, v.abs()).abs().max()) == 0
    assert float(d.grad(v, v.abs()).abs().max()) < 1e-15
    assert difference(d.prox(v, v.abs(), 3.0), v) < 1e-14


@either_kind
def test_at_zero_the_phase_is_that_of_one(dtype: torch.dtype):
    zero, y = torch.zeros(1, 2, dtype=dtype), row(1.0, 2.0)
    assert Amplitude().grad(zero, y).real.tolist() == [[-1.0, -2.0]]
    assert Amplitude().prox(zero, y, 1.0).real.tolist() == [[0.5, 1.0]]


def test_amplitudes_refuse_what_has_no_meaning_for_them():
    z = normal(1, 2, dtype=torch.complex128)
    with pytest.raises(ConfigError, match="expects amplitudes"):
        Amplitude().value(z, z)
    with pytest.raises(ConfigError, match="Amplitude is not convex"):
        Amplitude().prox_conj(z, z.abs(), 1.0)
