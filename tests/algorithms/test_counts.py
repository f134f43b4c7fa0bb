"""Where multiplicative and mirror methods end, found by SciPy and by EM."""

import numpy as np
from scipy.optimize import minimize

from tests.algorithms.small import COUNTS, SIZE, M, dense_problem, image
from tests.engine import difference, iterate
from unfold.algorithms.potentials import BurgEntropy
from unfold.algorithms.proximal_mirror_descent import ProximalMirrorDescent
from unfold.algorithms.richardson_lucy import RichardsonLucy
from unfold.fidelities.poisson import PoissonFidelity
from unfold.priors.l1 import L1
from unfold.priors.tikhonov import Tikhonov

B = 0.3
y = COUNTS[0].numpy()


def counts_slope(x: np.ndarray) -> np.ndarray:
    return M.T @ (1 - y / (M @ x + B))


def likelihood(lam: float, power: int) -> np.ndarray:
    """argmin over x ≥ 0 of Σ Mx + b − y log(Mx + b) + λ Σ xᵖ/p, by SciPy."""

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        v = M @ x + B
        slope = counts_slope(x) + lam * x ** (power - 1)
        return float((v - y * np.log(v)).sum() + lam * (x**power).sum() / power), slope

    found = minimize(
        value,
        np.ones(SIZE),
        jac=True,
        bounds=[(1e-12, None)] * SIZE,
        method="L-BFGS-B",
        options={"maxiter": 5000, "ftol": 1e-16, "gtol": 1e-12},
    )
    return np.asarray(found.x)


def test_counts_are_fitted_as_scipy_fits_them():
    mlem = iterate(
        RichardsonLucy(0.0), dense_problem(Tikhonov(), PoissonFidelity(B), y=COUNTS), 500
    )
    assert difference(mlem, image(likelihood(0.0, 1))) < 1e-6
    late = iterate(
        RichardsonLucy(0.2), dense_problem(Tikhonov(), PoissonFidelity(B), y=COUNTS), 250
    )
    assert difference(late, image(likelihood(0.2, 2))) < 1e-6
    for prior, power, steps, close in ((Tikhonov(), 2, 500, 1e-5), (L1(), 1, 700, 1e-3)):
        at = dense_problem(prior, PoissonFidelity(B), y=COUNTS)
        found = iterate(ProximalMirrorDescent(BurgEntropy(), 1.0, 0.2), at, steps)
        assert difference(found, image(likelihood(0.2, power))) < close, prior
