"""Iterative solves that stop early, inside algorithms that measure how far they are."""

import torch

from tests.operator_properties import dense
from unfold.algorithms.analysis_pdhg import AnalysisPDHG
from unfold.evaluation.baselines import total_variation
from unfold.fidelities.l2 import L2
from unfold.models.classical import Classical
from unfold.physics.ct.projector import Parallel, Projector
from unfold.physics.denoising import Denoising
from unfold.physics.noise.base import NoNoise
from unfold.priors.tv import TV
from unfold.problem import make_problem
from unfold.random import Draws

ROUGH = Projector(Parallel((0.0, 40.0, 95.0, 140.0), 12), (1, 8, 8))
GAMMA = 30.0


class Counted(Projector):
    """Counts how often A*A is applied."""

    applied = 0

    def normal(self, x: torch.Tensor) -> torch.Tensor:
        type(self).applied += 1
        return super().normal(x)


def right_hand_side() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(2, 1, 8, 8, generator=generator, dtype=torch.float64)


def solution(b: torch.Tensor) -> torch.Tensor:
    matrix = dense(ROUGH)[0]
    system = torch.eye(64, dtype=b.dtype) + GAMMA * matrix.mT @ matrix
    return torch.linalg.solve(system, b.flatten(1).mT).mT.reshape(b.shape)


def test_its_solves_stop_at_the_tolerance_and_not_far_below():
    b, x = right_hand_side(), ROUGH.solve_normal(right_hand_side(), GAMMA, tol=1e-3)
    residual = b - x - GAMMA * ROUGH.normal(x)
    relative = residual.flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)
    assert bool((relative <= 1.001e-3).all())
    assert bool((relative > 1e-6).all())
    assert (x - solution(b)).norm() < 1e-2 * b.norm()


def test_closed_forms_stay_exact():
    operator = Denoising(NoNoise()).sample(Draws(0, range(2), dtype=torch.float64), (1, 8, 8))
    b = right_hand_side()
    assert torch.equal(operator.solve_normal(b, 2.0, tol=0.5), operator.solve_normal(b, 2.0))


def test_a_prox_that_begins_at_its_answer_applies_the_operator_once():
    z = right_hand_side()
    operator = Counted(ROUGH.geometry, ROUGH.image_shape)
    y = operator.A(z.flip(-1))
    problem = make_problem(L2(), operator, y, TV(), solve_tol=1e-8)
    answer = solution(z + GAMMA * operator.A_adjoint(y))
    Counted.applied = 0
    assert (problem.f.prox(z, GAMMA, answer) - answer).norm() < 1e-7 * answer.norm()
    assert Counted.applied == 1
    assert (problem.f.prox(z, GAMMA) - answer).norm() < 1e-5 * answer.norm()
    assert Counted.applied > 5


def test_total_variation_reaches_the_gap_of_exact_solves():
    truth = torch.zeros(1, 1, 8, 8)
    truth[..., 2:6, 3:7] = 0.8
    y, tol = ROUGH.A(truth), 1e-2
    loose = total_variation(y, ROUGH, torch.tensor([0.02]), Classical(tol, 3000))
    exact = make_problem(L2(), ROUGH, y.double(), TV())
    assert loose.gap is not None
    assert bool((loose.gap <= tol).all())
    algorithm, state = AnalysisPDHG(ratio=0.01, lambda_reg=0.02), loose.state
    measured = algorithm.relative_gap(state, exact)
    assert measured is not None
    assert bool((measured <= 1.01 * tol).all())
