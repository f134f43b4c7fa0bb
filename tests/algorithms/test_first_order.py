"""The first five iterates of gradient, proximal and splitting methods, by hand in NumPy."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.algorithms.small import MATRIX, NORM, SIZE, Dense, M, Y, dense_problem, image, soft
from tests.engine import DOUBLE, difference, iterate, normal, reconstructor, run
from unfold.algorithms.algorithm import Algorithm
from unfold.algorithms.davis_yin import DavisYin
from unfold.algorithms.drs import DRS
from unfold.algorithms.fista import FISTA
from unfold.algorithms.gd import GD
from unfold.algorithms.heavy_ball import HeavyBall
from unfold.algorithms.hqs import HQS
from unfold.algorithms.landweber import Landweber
from unfold.algorithms.pgd import PGD
from unfold.errors import ConfigError, IncompatibleError
from unfold.fidelities.l2 import L2
from unfold.models.classical import Classical
from unfold.models.deq import DEQ
from unfold.models.unfolded import Unfolded
from unfold.parameters.schedules import BeckTeboulle, ChambolleDossal, Geometric
from unfold.priors.box import NonNegative
from unfold.priors.composite import Sum
from unfold.priors.l1 import L1
from unfold.priors.prior import Prior
from unfold.priors.tikhonov import Tikhonov
from unfold.problem import make_problem

LAM, TAU = 0.2, 1.1 / NORM
y = Y[0].numpy()
START = M.T @ y


def slope(x: np.ndarray) -> np.ndarray:
    return M.T @ (M @ x - y)


def fit(z: np.ndarray, gamma: float) -> np.ndarray:
    return np.linalg.solve(np.eye(SIZE) + gamma * M.T @ M, z + gamma * M.T @ y)


def gd(k: int) -> np.ndarray:
    x = START
    for _ in range(k):
        x = x - TAU * (slope(x) + LAM * x)
    return x


def damped(k: int) -> np.ndarray:
    x, tau = START, TAU / (1 + TAU * LAM)  # ∇½‖x‖² has Lipschitz constant 1
    for _ in range(k):
        x = x - tau * (slope(x) + LAM * x)
    return x


def heavy_ball(k: int) -> np.ndarray:
    x = before = START
    for _ in range(k):
        x, before = x - TAU * (slope(x) + LAM * x) + 0.4 * (x - before), x
    return x


def fista(k: int) -> np.ndarray:
    x = z = START
    for i in range(1, k + 1):
        new = soft(z - TAU * slope(z), TAU * LAM)
        x, z = new, new + (i - 1) / (i + 3) * (new - x)
    return x


def fista_of_beck_and_teboulle(k: int) -> np.ndarray:
    x = z = START
    t = 1.0
    for _ in range(k):
        new = soft(z - TAU * slope(z), TAU * LAM)
        following = (1 + np.sqrt(1 + 4 * t**2)) / 2
        x, z, t = new, new + (t - 1) / following * (new - x), following
    return x


def hqs(k: int) -> np.ndarray:
    x = START
    for i in range(k):
        gamma = 2.0 * 0.5**i
        x = soft(fit(x, gamma), gamma * LAM)
    return x


def drs(k: int) -> np.ndarray:
    z = v = START
    for _ in range(k):
        x = fit(z, 0.7)
        v = soft(2 * x - z, 0.7 * LAM)
        z = z + 1.4 * (v - x)
    return v


def davis_yin(k: int) -> np.ndarray:
    z = v = START
    for _ in range(k):
        x = soft(z, TAU * LAM)
        v = np.maximum(2 * x - z - TAU * slope(x), 0)
        z = z + 0.8 * (v - x)
    return v


def landweber(k: int) -> np.ndarray:
    x = START
    for _ in range(k):
        x = x + TAU * M.T @ (y - M @ x)
    return x


HALVING = Geometric(2.0, 0.125, 5)
BY_HAND: dict[str, tuple[Algorithm[Any], Prior, Callable[[int], np.ndarray]]] = {
    "gd": (GD(TAU, LAM), Tikhonov(), gd),
    "gd damped": (GD(TAU, LAM, damped=True), Tikhonov(), damped),
    "heavy_ball": (HeavyBall(TAU, LAM, 0.4), Tikhonov(), heavy_ball),
    "fista": (FISTA(TAU, LAM, ChambolleDossal(3.0)), L1(), fista),
    "fista_bt": (FISTA(TAU, LAM, BeckTeboulle()), L1(), fista_of_beck_and_teboulle),
    "hqs": (HQS(HALVING, LAM), L1(), hqs),
    "drs": (DRS(0.7, LAM, 1.4), L1(), drs),
    "davis_yin": (DavisYin(TAU, LAM, 0.8), Sum((L1(), NonNegative())), davis_yin),
    "landweber": (Landweber(TAU), Tikhonov(), landweber),
}


def at_iteration(algorithm: Any, k: int) -> Any:
    """The algorithm with the k-th value of its schedule."""
    if isinstance(algorithm, FISTA):
        return replace(algorithm, momentum=algorithm.momentum.at(k))
    if isinstance(algorithm, HQS):
        return replace(algorithm, stepsize=algorithm.stepsize.at(k))
    return algorithm


@pytest.mark.parametrize("name", BY_HAND)
def test_the_first_iterates_are_those_of_the_formulas(name: str):
    algorithm, prior, by_hand = BY_HAND[name]
    at = dense_problem(prior)
    state = algorithm.init(at)
    for k in range(6):
        assert difference(algorithm.image(state), image(by_hand(k))) < 1e-12, f"iterate {k}"
        before = [t.clone() for t in state]
        new = at_iteration(algorithm, k).step(state, at)
        assert all(map(torch.equal, before, state))
        state = new


@pytest.mark.parametrize("name", ["fista", "fista_bt", "hqs"])
def test_a_schedule_is_followed_unfolded_and_classical(name: str):
    algorithm, prior, by_hand = BY_HAND[name]
    A = Dense(MATRIX)
    for model in (Unfolded(5), Classical(tol=1e-30, max_iterations=5, every=2)):
        net = reconstructor(algorithm, model, prior, relative=[], learn=[])
        assert difference(net(Y, A), image(by_hand(5))) < 1e-6  # buffers hold single precision


def test_a_schedule_is_followed_by_those_that_are_not_done():
    weights = torch.tensor([1.0, 1e-3], dtype=DOUBLE).reshape(2, 1)
    y2 = torch.cat((Y, normal(1, 8, seed=9))) * weights
    matrices = torch.cat((MATRIX, torch.eye(8, SIZE, dtype=DOUBLE)[None]))
    net = reconstructor(FISTA(lambda_reg=0.1), Classical(1e-9, 500, every=1), L1())
    whole = net.solve(y2, Dense(matrices))
    assert whole.iterations[1] < whole.iterations[0] and whole.converged.all()
    for i in range(2):
        one = net.solve(y2[i : i + 1], Dense(matrices[i : i + 1]))
        assert difference(one.image, whole.image[i : i + 1]) < 1e-12
        assert one.iterations[0] == whole.iterations[i]


def test_an_equilibrium_needs_a_number_and_names_one():
    with pytest.raises(
        ConfigError, match=r"algo.momentum = Chamb.*such as 0.5, or use an unfolded mod"
    ):
        reconstructor(FISTA(), DEQ(), L1())
    reconstructor(FISTA(momentum=0.5), DEQ(), L1())
    with pytest.raises(ConfigError, match=r"algo.stepsize = \[1.0, 0.5\]: this model repeats one"):
        reconstructor(PGD(stepsize=[1.0, 0.5]), Classical(), L1())


def test_states_are_pure_and_images_see_no_batch():
    matrices = torch.cat((MATRIX, 0.5 * MATRIX))
    y2 = torch.cat((Y, 2 * Y + 1))
    for algorithm, prior, _ in BY_HAND.values():
        own = at_iteration(algorithm, 2)
        whole = iterate(own, make_problem(L2(), Dense(matrices), y2, prior), 4)
        for i in range(2):
            one = make_problem(L2(), Dense(matrices[i : i + 1]), y2[i : i + 1], prior)
            assert difference(iterate(own, one, 4), whole[i : i + 1]) < 1e-12
        state = run(own, make_problem(L2(), Dense(matrices), y2, prior), 1)
        assert all(t.shape[0] == 2 for t in state)


def test_a_damped_step_converges_whatever_the_prior_and_the_plain_one_does_not():
    weight = 50.0
    at = dense_problem(Tikhonov())
    want = np.linalg.solve(M.T @ M + weight * np.eye(SIZE), M.T @ y)
    found = iterate(GD(1.9 / NORM, weight, damped=True), at, 400)
    assert difference(found[0], torch.from_numpy(want).reshape(found[0].shape)) < 1e-9
    assert GD(1.9 / NORM, weight, damped=True).guarantee(at).holds
    assert not GD(2.1 / NORM, 1e-3, damped=True).guarantee(at).holds
    assert not GD(1.9 / NORM, weight).guarantee(at).holds
    assert not iterate(GD(1.9 / NORM, weight), at, 400).isfinite().all()


def test_a_damped_step_needs_a_lipschitz_constant_of_the_prior():
    class Unknown(Tikhonov):
        lipschitz = math.inf

    with pytest.raises(IncompatibleError, match=r"GD.damped = true needs .* Unknown knows none"):
        iterate(GD(0.5, damped=True), dense_problem(Unknown()), 1)
