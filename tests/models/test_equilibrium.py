"""What an equilibrium costs, returns and promises."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.engine import blur, learned, measured, network_prior, reconstructor, weighted_loss
from unfold.algorithms.admm import ADMM
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.denoisers.denoiser import Denoiser
from unfold.denoisers.nonexpansive import NonexpansiveResNet
from unfold.errors import ConfigError
from unfold.models.deq import DEQ
from unfold.models.equilibrium_gradient import Implicit, JacobianFree, Neumann, Phantom
from unfold.physics.blur.convolution import CircularConvolution
from unfold.priors.denoiser_priors import PnP
from unfold.priors.tv import TV
from unfold.solvers.acceleration import Anderson, Broyden
from unfold.solvers.fixed_point import Picard, Solver
from unfold.solvers.result import ConvergenceWarning

ALGORITHMS = {"pgd": PGD(), "admm": ADMM(beta=1.2), "pdhg": PDHG()}
every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


class Counting(Denoiser):
    """Counts what a denoiser is asked, forward and backward."""

    def __init__(self, network: Denoiser) -> None:
        super().__init__()
        self.network, self.channels, self.calls = network, network.channels, Counter()

    def forward(self, v: Tensor, sigma: Any) -> Tensor:
        self.calls["forward"] += 1
        out = self.network(v, sigma)
        if out.requires_grad:
            out.register_hook(lambda _: self.calls.update(["backward"]))
        return out


@pytest.mark.parametrize("backward", [Implicit(), JacobianFree(), Neumann(3), Phantom(3)])
@every_algorithm
def test_training_and_evaluation_are_bit_identical(name: str, backward: Any):
    A, prior = blur(8, batch=2), network_prior()
    net = reconstructor(ALGORITHMS[name], DEQ(backward=backward), prior)
    y = measured(A, batch=2)
    trained = net(y, A)
    assert trained.requires_grad
    with torch.no_grad():
        assert torch.equal(net(y, A), trained)


def test_bit_identical_also_with_a_prox_that_iterates():
    A = blur(8)
    net = reconstructor(PGD(lambda_reg=0.02), DEQ(), TV(tol=1e-3))
    with torch.no_grad():
        quiet = net(measured(A), A)
    assert torch.equal(net(measured(A), A), quiet)


def test_evaluation_costs_its_iterations_and_training_one_more():
    A = blur(8)
    counting = Counting(network_prior().denoiser)
    net = reconstructor(PGD(), DEQ(), PnP(counting))
    counting.calls.clear()
    with torch.no_grad():
        solution = net.solve(measured(A), A)
    forward = counting.calls["forward"]
    assert solution.iterations.max() <= forward <= solution.iterations.max() + 2  # looks every 3
    net(measured(A), A)
    assert counting.calls["forward"] == 2 * forward + 1


def test_a_training_step_of_a_contractive_network_is_cheap():
    torch.manual_seed(0)
    prior = PnP(NonexpansiveResNet(1, 5, 16))
    counting = Counting(prior.denoiser)
    A = blur(16, batch=2)
    net = reconstructor(PGD(), DEQ(tol=1e-3), PnP(counting))
    counting.calls.clear()
    weighted_loss(net(measured(A, batch=2), A)).backward()
    assert counting.calls["forward"] <= 13 and counting.calls["backward"] <= 16, counting.calls


@dataclass(frozen=True, eq=False)
class CountedBlur(CircularConvolution):
    """Counts its applications."""

    calls: Any = None

    def forward(self, x: Tensor) -> Tensor:
        self.calls["A"] += 1
        return super().forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        self.calls["A*"] += 1
        return super().adjoint(y)

    def normal(self, x: Tensor) -> Tensor:
        self.calls["A*A"] += 1
        return super().normal(x)


@pytest.mark.parametrize("name", ["pgd", "admm"])
def test_the_adjoint_of_the_measurement_is_computed_once(name: str):
    A, calls = blur(8), Counter()
    counted = CountedBlur(A.kernel, A.image_shape, A.rcond, calls)
    from unfold.models.unfolded import Unfolded

    for model in (DEQ(), Unfolded(5)):
        net = reconstructor(ALGORITHMS[name], model)
        y = measured(A)
        calls.clear()
        net(y, counted)
        assert calls["A*"] == 1 and calls["A"] == 0
        assert model != Unfolded(5) or calls["A*A"] == (5 if name == "pgd" else 0)


def test_a_step_of_pgd_takes_two_transforms(monkeypatch: pytest.MonkeyPatch):
    A, count = blur(8), Counter()
    for name in ("rfft2", "irfft2", "fft2", "ifft2"):
        original = getattr(torch.fft, name)
        monkeypatch.setattr(
            torch.fft, name, lambda *a, f=original, **k: (count.update(["fft"]), f(*a, **k))[1]
        )
    net = reconstructor(PGD(), DEQ())
    algorithm, at = net.steps(measured(A), A).at(0)
    state = algorithm.init(at)
    state = algorithm.step(state, at)
    count.clear()
    algorithm.step(state, at)
    assert count["fft"] <= 2


@every_algorithm
@pytest.mark.parametrize("solver", [Anderson(), Broyden(), Picard()])
def test_an_image_does_not_depend_on_its_batch(name: str, solver: Solver):
    A = blur(8, batch=3)
    y = measured(A, batch=3)
    y = y * torch.tensor([0.01, 1.0, 20.0], dtype=y.dtype).reshape(3, 1, 1, 1)
    net = reconstructor(ALGORITHMS[name], DEQ(solver=solver), network_prior()).float()
    y, A = y.float(), A.to_like(y.float())
    with torch.no_grad():
        whole = net.solve(y, A)
        for i in range(3):
            one = net.solve(y[i : i + 1], A.take(torch.tensor([i]), 3))
            # the biases of the network are of the order of 1, whatever the image is
            size = max(1.0, float(whole.image[i].abs().max()))
            assert float((one.image - whole.image[i]).abs().max()) < 1e-6 * size
            assert one.iterations[0] == whole.iterations[i]


def test_the_certificate_is_of_the_image_that_is_returned():
    A = blur(8, batch=2)
    net = reconstructor(PGD(lambda_reg=0.1), DEQ(tol=1e-4))
    with torch.no_grad():
        solution = net.solve(measured(A, batch=2), A, keep_iterates=True)
        assert solution.converged.all() and (solution.residual <= 1e-4).all()
        again = net.steps(measured(A, batch=2), A).step(0, solution.state)
    change = (again.x - solution.image).flatten(1).norm(dim=1)
    assert (change <= 1e-4 * solution.image.flatten(1).norm(dim=1)).all()
    assert solution.backward.residual is None and len(solution.iterates) > solution.iterations.max()


def test_a_step_beyond_its_range_is_not_called_converged():
    A = blur(8)
    model = DEQ(max_iterations=400, solver=Picard())
    with torch.no_grad(), pytest.warns(ConvergenceWarning, match="not reached for 1 of 1 images"):
        solution = reconstructor(PGD(stepsize=2.5, lambda_reg=0.01), model).solve(measured(A), A)
    assert not solution.converged.any()


def test_settings_without_meaning_are_refused():
    for call, words in (
        (lambda: DEQ(tol=0.0), "DEQ.tol = 0.0"),
        (lambda: DEQ(max_iterations=0), "DEQ.max_iterations = 0"),
        (lambda: DEQ(accuracy=0.0), "DEQ.accuracy = 0.0"),
        (lambda: Implicit(tol=-1.0), "Implicit.tol = -1.0"),
        (lambda: Implicit(accuracy=0.0), "Implicit.accuracy = 0.0"),
        (lambda: Implicit(max_iterations=0), "Implicit.max_iterations = 0"),
        (lambda: Phantom(steps=0), "Phantom.steps = 0"),
        (lambda: Phantom(damping=1.5), "Phantom.damping = 1.5"),
        (lambda: Neumann(-1), "Neumann.terms = -1"),
    ):
        with pytest.raises(ConfigError, match=words):
            call()


def test_everything_learned_gets_a_gradient():
    A = blur(8)
    for algorithm in ALGORITHMS.values():
        net = reconstructor(algorithm, DEQ(), network_prior())
        weighted_loss(net(measured(A), A)).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in learned(net))
