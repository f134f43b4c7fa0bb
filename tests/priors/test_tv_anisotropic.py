"""Anisotropic total variation: its prox is a bounded least-squares problem, which SciPy solves."""

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear

from tests.engine import DOUBLE, difference, normal
from unfold.errors import ConfigError
from unfold.priors.tv import TV, AnisotropicTV, gradient


@pytest.mark.parametrize("w", [0.05, 0.4])
def test_it_is_the_exact_solution(w: float):
    v = normal(1, 1, 5, 6, seed=3)
    eye = torch.eye(30, dtype=DOUBLE).reshape(30, 1, 5, 6)
    D = gradient(eye).flatten(1).mT.numpy()
    p = lsq_linear(D.T, v.flatten().numpy(), bounds=(-w, w), method="bvls", tol=1e-14).x
    want = torch.from_numpy(v.flatten().numpy() - D.T @ p).reshape(1, 1, 5, 6)
    with torch.no_grad():
        got = AnisotropicTV(tol=1e-11, max_iterations=9000).prox(v, w)
    assert difference(got, want) < 1e-5


def test_its_value_counts_both_directions_of_a_corner():
    x = torch.zeros(1, 1, 3, 3, dtype=DOUBLE)
    x[0, 0, 1, 1] = 1.0
    assert float(AnisotropicTV().value(x)) == 4
    assert float(TV().value(x)) == pytest.approx(2 + 2**0.5)


def test_on_a_line_both_are_the_same():
    v = normal(1, 1, 1, 12)
    with torch.no_grad():
        ours, other = (kind(tol=1e-11, max_iterations=9000) for kind in (AnisotropicTV, TV))
        assert difference(ours.prox(v, 0.3), other.prox(v, 0.3)) < 1e-5


def test_messages_name_the_class():
    with pytest.raises(ConfigError, match=r"AnisotropicTV.tol = nan: must be positive"):
        AnisotropicTV(tol=np.nan)
