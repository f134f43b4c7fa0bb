"""Coils and complex images: an algorithm ends at the minimiser, or says that it cannot."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.engine import DOUBLE, difference, iterate, learned, network_prior, reconstructor, uniform
from unfold.algorithms.admm import ADMM
from unfold.algorithms.algorithm import Algorithm
from unfold.algorithms.analysis_pdhg import AnalysisPDHG
from unfold.algorithms.condat_vu import CondatVu
from unfold.algorithms.drs import DRS
from unfold.algorithms.fista import FISTA
from unfold.algorithms.gd import GD
from unfold.algorithms.hqs import HQS
from unfold.algorithms.mirror_descent import MirrorDescent
from unfold.algorithms.osem import OSEM
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.algorithms.potentials import BurgEntropy
from unfold.algorithms.proximal_mirror_descent import ProximalMirrorDescent
from unfold.algorithms.richardson_lucy import RichardsonLucy
from unfold.algorithms.sirt import SIRT
from unfold.errors import ConfigError
from unfold.fidelities.l2 import L2
from unfold.models.deq import DEQ
from unfold.models.unfolded import Unfolded
from unfold.physics.mri.cartesian import MultiCoilMRI
from unfold.physics.mri.sampling import RandomColumns
from unfold.physics.noise.base import NoNoise
from unfold.priors.denoiser_priors import RED
from unfold.priors.l1 import L1
from unfold.priors.tikhonov import Tikhonov
from unfold.priors.tv import TV
from unfold.priors.wavelet import Wavelet
from unfold.problem import Problem, make_problem
from unfold.random import Draws

LAM, SHAPE = 0.05, (1, 9, 10)  # odd sides: wavelets and differences have no size that they need
NAMES = {"hqs": HQS, "pgd": PGD, "admm": ADMM, "pdhg": PDHG, "fista": FISTA, "drs": DRS, "gd": GD}
SMOOTH = sorted({*NAMES} - {"hqs"})  # HQS minimises another function
PROXIMAL = sorted({*NAMES} - {"hqs", "gd"})


def of(name: str) -> Any:
    """With one momentum for all iterations."""
    own = {"momentum": 0.5} if name == "fista" else {}
    return NAMES[name](lambda_reg=LAM, **own)


def problem(prior: Any) -> Problem:
    """One image whose phase varies, of four coils and five columns of seven."""
    draws = Draws(4, range(1), dtype=DOUBLE)
    A = MultiCoilMRI(NoNoise(), RandomColumns(1.4, 0.2), 4, 0.6).sample(draws, SHAPE)
    phase = 3 * uniform(1, 1, 9, 10, seed=2)
    return make_problem(L2(), A, A.A(uniform(1, 1, 9, 10) * torch.exp(1j * phase)), prior)


def dense(at: Problem) -> Tensor:
    """argmin of least squares with a ridge, by complex matrices."""
    basis = torch.eye(90, dtype=torch.complex128).reshape(90, *SHAPE)
    M = at.f.operator.A(basis).flatten(1).mT
    eye = torch.eye(90, dtype=M.dtype)
    return torch.linalg.solve(M.mH @ M + LAM * eye, M.mH @ at.y.flatten()).reshape(1, *SHAPE)


@pytest.mark.parametrize("name", SMOOTH)
def test_a_ridge_is_the_dense_solution_cg_sense(name: str):
    at = problem(Tikhonov())
    found = iterate(of(name), at, 250)
    assert found.is_complex() and difference(found, dense(at)) < 1e-7


@pytest.mark.parametrize("name", PROXIMAL)
def test_a_wavelet_lasso_ends_where_its_conditions_hold(name: str):
    at = problem(Wavelet("db2", 1))
    x = iterate(of(name), at, 200)
    assert difference(at.g.prox(x - at.f.grad(x), LAM), x) < 1e-7


def test_the_algorithms_for_total_variation_agree():
    at = problem(TV(tol=1e-7, max_iterations=3000))
    a = iterate(AnalysisPDHG(ratio=0.1, lambda_reg=LAM, high=9.0), at, 900)
    assert difference(iterate(CondatVu(lambda_reg=LAM, high=9.0), at, 900), a) < 1e-6
    with torch.no_grad():
        assert difference(iterate(ADMM(lambda_reg=LAM), at, 60), a) < 1e-3


def prior_of(name: str) -> Any:
    return RED(network_prior().denoiser) if name == "gd" else network_prior()


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("untied", [[], ["*"]], ids=["tied", "untied"])
def test_unfolded_every_number_and_weight_gets_a_finite_gradient(name: str, untied: list[str]):
    at = problem(Tikhonov())
    net = reconstructor(NAMES[name](), Unfolded(3), prior_of(name), untied=untied)
    image = net(at.y, at.f.operator)
    (image - dense(at)).abs().square().sum().backward()
    assert image.is_complex() and learned(net)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learned(net))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_an_equilibrium_is_a_fixed_point_of_the_step(name: str):
    at = problem(Tikhonov())
    net = reconstructor(of(name), DEQ(tol=1e-8, max_iterations=1000), prior_of(name))
    solution = net.solve(at.y, at.f.operator)
    assert bool(solution.converged.all()) and solution.image.is_complex()
    algorithm, own = net.steps(at.y, at.f.operator).at(0)
    again = algorithm.step(solution.state, own)
    assert difference(algorithm.image(again), solution.image) < 1e-6
    solution.image.abs().square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learned(net))


CANNOT: list[tuple[Algorithm[Any], Any]] = [
    (MirrorDescent(), Tikhonov()),
    (ProximalMirrorDescent(), L1()),
    (ProximalMirrorDescent(BurgEntropy()), L1()),
    (SIRT(), Tikhonov()),
    (RichardsonLucy(), Tikhonov()),
    (OSEM(), Tikhonov()),
]


@pytest.mark.parametrize(("algorithm", "prior"), CANNOT, ids=lambda v: type(v).__name__)
def test_what_needs_positive_images_says_so_and_names_what_does_not(algorithm: Any, prior: Any):
    with pytest.raises(ConfigError, match=r"(positive|real) images.* complex. Use .*PGD"):
        algorithm.init(problem(prior))
