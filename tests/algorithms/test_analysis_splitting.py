"""Splittings of g = h∘K: their linear solve, their limits, and the networks made of them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.algorithms.small import Dense
from tests.engine import DOUBLE, blur, difference, inpainting, iterate, measured, normal, uniform
from unfold.algorithms.analysis_pdhg import AnalysisPDHG
from unfold.algorithms.analysis_splitting import AnalysisADMM, AnalysisHQS
from unfold.denoisers.shrinkage import (
    FilterBank,
    GaussianShrinkage,
    ShrinkageField,
    SplineShrinkage,
)
from unfold.errors import ConfigError
from unfold.fidelities.l2 import L2
from unfold.physics.denoising import Identity
from unfold.physics.mri.cartesian import Fourier, RealFourier
from unfold.physics.operator import Operator
from unfold.priors.ridge import LearnedShrinkage
from unfold.priors.tv import TV, AnisotropicTV, Differences
from unfold.problem import make_problem
from unfold.solvers.conjugate_gradient import SumSystem, solve_sum
from unfold.solvers.linear_map import LinearMap

N, SHAPE = 6, (2, 6, 6)
MASK = torch.tensor([1, 1, 0, 1, 0, 1], dtype=DOUBLE).reshape(1, 1, 1, N)
OPERATORS: dict[str, Operator] = {
    "identity": Identity(SHAPE),
    "blur": blur(N, batch=2),
    "mask": inpainting(N),
    "real_mri": RealFourier(MASK, SHAPE),
    "mri": Fourier(MASK, SHAPE),
    "matrix": Dense(normal(1, 20, 2 * N * N, seed=8), SHAPE),
}
CLOSED = {"identity", "blur", "real_mri", "mri"}


def bank(count: int = 3, seed: int = 2) -> FilterBank:
    k = normal(count, 1, 3, 3, seed=seed)
    return FilterBank(k - 0.5 * k.mean((2, 3), keepdim=True))


def matrix(A: LinearMap, kind: torch.dtype) -> Tensor:
    """A of images of `SHAPE`, by its columns; the same for each sample of a batch of 2."""
    basis = torch.eye(2 * N * N, dtype=kind).reshape(-1, *SHAPE)
    columns = [A.forward(e.expand(2, *SHAPE)).reshape(2, -1) for e in basis]
    return torch.stack(columns, -1)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("K", [bank(), Differences()], ids=["filters", "differences"])
def test_the_sum_of_two_normal_operators_is_inverted(name: str, K: LinearMap):
    A = OPERATORS[name]
    kind = torch.complex128 if name == "mri" else DOUBLE
    gamma = torch.tensor([0.3, 2.0], dtype=DOUBLE).reshape(2, 1, 1, 1)
    b = normal(2, *SHAPE, seed=5, dtype=kind)
    found = solve_sum(SumSystem(((A, gamma), (K, 1.0))), b)
    M, R = matrix(A, kind), matrix(K, kind)
    whole = gamma[..., 0] * (M.mH @ M) + R.mH @ R
    if kind is DOUBLE:
        whole = whole.real  # of what is measured of real images, complex or not
    want = torch.linalg.solve(whole, b.reshape(2, -1, 1)).reshape(b.shape)
    assert difference(found, want) < 1e-9
    closed = A.normal_spectrum(b) is not None and K.normal_spectrum(b) is not None
    assert closed == (name in CLOSED and isinstance(K, FilterBank))


@pytest.mark.parametrize("name", ["blur", "mask"])
def test_its_gradient_reaches_filters_weight_and_image(name: str):
    A = OPERATORS[name]

    def solved(k: Tensor, gamma: Tensor, b: Tensor) -> Tensor:
        return solve_sum(SumSystem(((A, gamma), (FilterBank(k), 1.0))), b)

    shape = (2, 2, N, N)
    inputs = [bank(2).filters, torch.tensor(0.7, dtype=DOUBLE), normal(*shape, seed=3)]
    assert torch.autograd.gradcheck(solved, [t.requires_grad_() for t in inputs], fast_mode=True)


def test_frequencies_that_nothing_passes_are_0():
    k = bank().filters
    K = FilterBank(k - k.mean((2, 3), keepdim=True))
    A = RealFourier((torch.arange(N) != 0).to(DOUBLE).reshape(1, 1, 1, N), (1, N, N))
    x = solve_sum(SumSystem(((A, 1.0), (K, 1.0))), uniform(1, 1, N, N))
    assert x.isfinite().all() and abs(float(x.mean())) < 1e-12


@pytest.mark.parametrize("prior", [TV(), AnisotropicTV()])
@pytest.mark.parametrize("name", ["blur", "identity"])
def test_the_augmented_lagrangian_ends_where_the_primal_dual_gap_closes(prior, name):
    A = OPERATORS[name]
    problem = make_problem(L2(), A, measured(A, batch=2), prior)
    want = iterate(AnalysisPDHG(0.3, 0.02, low=-9.0, high=9.0), problem, 700)
    found = iterate(AnalysisADMM(1.0, 0.02, 1.5), problem, 150)
    assert difference(found, want) < 1e-5


def test_half_quadratic_splitting_ends_at_the_minimiser_of_its_envelope():
    A, lam, gamma = OPERATORS["blur"], 0.05, 2.0
    problem = make_problem(L2(), A, measured(A, batch=2), AnisotropicTV())
    x = iterate(AnalysisHQS(gamma, lam), problem, 150).requires_grad_()
    u = Differences().forward(x).abs()
    # of λ|·|: the function of Huber, with the parameters λ and γλ
    huber = torch.where(u > gamma * lam, lam * (u - gamma * lam / 2), u.square() / (2 * gamma))
    (slope,) = torch.autograd.grad(problem.f.value(x).sum() + huber.sum(), x)
    assert float(slope.abs().max()) < 1e-8


def trained(kind: type[ShrinkageField], seed: int) -> ShrinkageField:
    torch.manual_seed(0)
    network = kind(1, filters=4).double()
    with torch.no_grad():
        for i, p in enumerate(network.parameters()):
            p.add_(0.1 * normal(*p.shape, seed=10 * seed + i))
    return network


def filters(network: ShrinkageField) -> np.ndarray:
    """Bc of each filter, from the definition of the cosine basis."""
    c = [np.ones(3) / 3**0.5, *(np.cos(np.pi * k * (np.arange(3) + 0.5) / 3) for k in (1, 2))]
    c[1:] = [v * (2 / 3) ** 0.5 for v in c[1:]]
    basis = np.stack([np.outer(a, b) for a in c for b in c])[1:]
    return np.einsum("fm,mij->fij", network.coefficients.detach().numpy(), basis)


def function(network: ShrinkageField, u: np.ndarray) -> np.ndarray:
    """Of each coefficient: a sum of Gaussians, or a piecewise linear function."""
    if isinstance(network, GaussianShrinkage):
        w, m = network.weights.detach().numpy(), (np.arange(53) - 26) * 10 / 255
        bumps = np.exp(-0.5 * ((u[..., None] - m) / (10 / 255)) ** 2)
        return np.einsum("fhwj,fj->fhw", bumps, w)
    knots, table = np.linspace(-1, 1, 101), network.table.detach().numpy()
    inside = [np.interp(v, knots, t) for v, t in zip(u, table, strict=True)]
    ends = [(t[1] - t[0], t[-1] - t[-2]) for t in table]
    pairs = zip(u, inside, ends, strict=True)
    beyond = [np.minimum(v + 1, 0) * a + np.maximum(v - 1, 0) * b for v, _, (a, b) in pairs]
    return np.stack(inside) + np.stack(beyond) / 0.02


def spectra(k: np.ndarray, side: int) -> np.ndarray:
    grid = np.zeros((len(k), side, side))
    grid[:, :3, :3] = k[:, ::-1, ::-1]  # a correlation, as convolutions of networks are
    return np.fft.fft2(np.roll(grid, (-1, -1), (1, 2)))


def test_shrinkage_fields_are_the_iteration_of_their_paper():
    side, p, gammas = 12, 3, (0.8, 2.5)
    stages = [trained(GaussianShrinkage, 1), trained(GaussianShrinkage, 2)]
    y = uniform(1, 1, side, side, seed=4)
    problem = make_problem(L2(), Identity((1, side, side)), y, LearnedShrinkage(stages[0]))
    state = AnalysisHQS(padding=p).init(problem)
    x = y[0, 0].numpy()
    for network, gamma in zip(stages, gammas, strict=True):
        own = make_problem(L2(), problem.f.operator, y, LearnedShrinkage(network))
        state = AnalysisHQS(gamma, padding=p).step(state, own)
        f, big = spectra(filters(network), side + 2 * p), np.pad(x, p, mode="edge")
        u = np.fft.ifft2(f * np.fft.fft2(big)).real
        above = (f.conj() * np.fft.fft2(function(network, u))).sum(0)
        above = above + gamma * np.fft.fft2(np.pad(y[0, 0].numpy(), p, mode="edge"))
        x = np.fft.ifft2(above / (gamma + (abs(f) ** 2).sum(0))).real[p:-p, p:-p]
    assert difference(state.x, torch.from_numpy(x)[None, None]) < 2e-5


def test_admm_net_is_the_iteration_of_its_paper():
    network, eta, gamma = trained(SplineShrinkage, 3), 0.7, 1.4
    A, y = blur(N), measured(blur(N))
    problem = make_problem(L2(), A, y, LearnedShrinkage(network))
    algorithm = AnalysisADMM(gamma, dual_rate=eta)
    state = algorithm.init(problem)
    h = A.full_spectrum[0, 0].numpy()
    f, b = spectra(filters(network), N), np.fft.fft2(y[0, 0].numpy())
    x, u = problem.start[0, 0].numpy(), np.zeros((4, N, N))
    for _ in range(3):
        state = algorithm.step(state, problem)
        Dx = np.fft.ifft2(f * np.fft.fft2(x)).real
        z = function(network, Dx + u)
        u = u + eta * (Dx - z)
        above = gamma * h.conj() * b + (f.conj() * np.fft.fft2(z - u)).sum(0)
        x = np.fft.ifft2(above / (gamma * abs(h) ** 2 + (abs(f) ** 2).sum(0))).real
    assert difference(state.x, torch.from_numpy(x)[None, None]) < 1e-10


@pytest.mark.parametrize("kind", [GaussianShrinkage, SplineShrinkage])
def test_a_shrinkage_field_takes_complex_images_by_their_parts(kind):
    prior, x = LearnedShrinkage(trained(kind, 5)), normal(2, 1, 7, 7, dtype=torch.complex128)
    for f in (lambda v: prior.shrink(prior.analysis.forward(v), 1.0), lambda v: prior.prox(v, 1.0)):
        assert difference(f(x), torch.complex(f(x.real), f(x.imag))) < 1e-12
    with pytest.raises(ConfigError, match="acts on real and imaginary parts"):
        LearnedShrinkage(trained(kind, 5), representation="magnitude_phase")


def test_sizes_without_meaning_are_refused():
    for wrong, message in (
        ({"size": 1}, r"spacing = .*, size = 1: above 0, and 3 or more"),
        ({"size": 4}, "size = 4: must be 1 to 31, odd"),
        ({"knots": 4}, "knots = 4"),
    ):
        for kind in (GaussianShrinkage, SplineShrinkage):
            with pytest.raises(ConfigError, match=f"{kind.__name__}.{message}"):
                kind(1, **wrong)
    with pytest.raises(ConfigError, match="spacing = 0"):
        GaussianShrinkage(1, spacing=0.0)
    with pytest.raises(ConfigError, match=r"threshold = 2.0: must be 0 to below radius = 1"):
        SplineShrinkage(1, threshold=2.0)
