"""Unfolding: K steps, and three ways to differentiate them."""

from typing import Any

import pytest
import torch

from tests.engine import (
    blur,
    difference,
    iterate,
    learned,
    measured,
    network_prior,
    problem,
    reconstructor,
    weighted_loss,
)
from unfold.algorithms.admm import ADMM
from unfold.algorithms.analysis_pdhg import AnalysisPDHG
from unfold.algorithms.condat_vu import CondatVu
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.errors import ConfigError
from unfold.models.unfolded import Checkpoint, Full, Truncated, Unfolded
from unfold.priors.tv import TV
from unfold.priors.wavelet import Wavelet

ALGORITHMS: dict[str, tuple[Any, Any]] = {
    "pgd": (PGD(), Wavelet("haar", 2)),
    "admm": (ADMM(beta=1.3), Wavelet("haar", 2)),
    "pdhg": (PDHG(), Wavelet("haar", 2)),
    "condat_vu": (CondatVu(), TV()),
    "analysis_pdhg": (AnalysisPDHG(), TV()),
}
every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


@every_algorithm
def test_a_tied_network_is_the_plain_algorithm_bitwise(name: str):
    algorithm, prior = ALGORITHMS[name]
    A = blur(8, batch=2)
    at = problem(A, prior, batch=2)
    net = reconstructor(algorithm, Unfolded(6), prior, learn=[], relative=[])
    own, _ = net.steps(at.y, A).at(0)  # the values of the buffers, which are kept in float32
    solution = net.solve(at.y, A, keep_iterates=True)
    for k, image in enumerate(solution.iterates):
        assert torch.equal(image, iterate(own, at, k))
    assert torch.equal(solution.image, solution.iterates[6])
    assert solution.iterations.tolist() == [6, 6] and len(solution.iterates) == 7


def gradients(name: str, backward: Any, iterations: int = 4) -> tuple[Any, list[Any]]:
    algorithm, prior = ALGORITHMS[name]
    if name in ("pgd", "admm", "pdhg"):
        prior = network_prior()
    A = blur(8, batch=2)
    net = reconstructor(algorithm, Unfolded(iterations, backward), prior)
    y = measured(A, batch=2).requires_grad_()
    image = net(y, A)
    at = [y, *learned(net)]
    return image, list(torch.autograd.grad(weighted_loss(image), at, allow_unused=True))


@every_algorithm
@pytest.mark.parametrize("backward", [Checkpoint(), Truncated(4)])
def test_checkpointing_and_truncating_nothing_change_no_gradient(name: str, backward: Any):
    image, grads = gradients(name, Full())
    other, found = gradients(name, backward)
    assert torch.equal(image, other)
    for g, f in zip(grads, found, strict=True):
        assert (g is None and f is None) or difference(f, g) < 1e-12


@every_algorithm
def test_truncating_changes_the_gradient_and_not_the_image(name: str):
    image, grads = gradients(name, Full())
    other, found = gradients(name, Truncated(1))
    assert torch.equal(image, other)
    assert difference(found[0], grads[0]) > 1e-3


@every_algorithm
def test_the_gradient_is_that_of_finite_differences(name: str):
    algorithm, prior = ALGORITHMS[name]
    A = blur(4)
    prior = Wavelet("haar", 1) if isinstance(prior, Wavelet) else prior
    net = reconstructor(algorithm, Unfolded(3), prior)
    y = measured(A)
    grads = torch.autograd.grad(weighted_loss(net(y, A)), learned(net))
    for p, g in zip(learned(net), grads, strict=True):
        values = []
        for h in (1e-6, -2e-6):
            p.data += h
            values.append(weighted_loss(net(y, A)).item())
        p.data += 1e-6
        numeric = (values[0] - values[1]) / 2e-6
        assert abs(numeric - g.item()) < 1e-6 * max(abs(g.item()), 1e-2)


def test_untied_steps_are_used_in_their_order():
    A = blur(8)
    steps = [0.3, 0.9, 1.5]
    net = reconstructor(PGD(stepsize=steps), Unfolded(3), learn=[], relative=[])
    at = problem(A, Wavelet("haar", 1))
    state = None
    from unfold.priors.tikhonov import Tikhonov

    at = problem(A, Tikhonov())
    for k, tau in enumerate(map(net.steps(at.y, A).at, range(3))):
        assert float(tau[0].stepsize) == pytest.approx(steps[k], rel=1e-6)
        state = tau[0].init(at) if state is None else state
        state = tau[0].step(state, at)
    assert torch.equal(net(at.y, A), state.x)


def test_settings_without_meaning_are_refused():
    with pytest.raises(ConfigError, match=r"Unfolded.iterations = 0: must be at least 1"):
        Unfolded(0)
    with pytest.raises(ConfigError, match=r"Truncated.steps = 0: must be at least 1"):
        Truncated(0)


def test_more_iterations_than_have_values_are_refused():
    net = reconstructor(PGD(), Unfolded(2), untied=("algo.stepsize",))
    y, operator = measured(blur()), blur()
    with pytest.raises(ConfigError, match=r"iterations = 3: the model has 2"):
        net.solve(y, operator, iterations=3)
    assert net.solve(y, operator, iterations=1).iterations.unique().tolist() == [1]
