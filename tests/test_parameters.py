"""Which parameters are learned, untied, constrained, relative; and every message about it."""

import copy
import math
import pickle
from typing import Any

import pytest
import torch

from tests.engine import (
    blur,
    difference,
    learned,
    measured,
    network_prior,
    reconstructor,
    weighted_loss,
)
from unfold.algorithms.admm import ADMM
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.denoisers.dncnn import ConditionalDnCNN, DnCNN
from unfold.errors import ConfigError
from unfold.fidelities.l2 import L2
from unfold.models.deq import DEQ
from unfold.models.model import Model
from unfold.models.unfolded import Unfolded
from unfold.parameters.schedules import Geometric
from unfold.parameters.select import Trainable
from unfold.priors.denoiser_priors import PnP
from unfold.priors.l1 import L1
from unfold.priors.tikhonov import Tikhonov
from unfold.reconstructor import Reconstructor


def names(net: torch.nn.Module) -> set[str]:
    return {name for name, p in net.named_parameters() if p.requires_grad}


def plug(sigma: bool = True) -> PnP:
    torch.manual_seed(0)
    return PnP((ConditionalDnCNN if sigma else DnCNN)(1, 3, 4))


def build(model: Model | None = None, prior: Any = None, **choices: Any) -> Reconstructor:
    return reconstructor(PGD(), model or Unfolded(3), prior or Tikhonov(), **choices)


def test_a_learned_scalar_is_raw_and_a_fixed_one_a_buffer():
    net = build(learn=["algo.stepsize"])
    assert names(net) == {"algo.raw_stepsize"}
    assert set(dict(net.named_buffers())) == {"algo.lambda_reg"}
    assert net.parameter_values()["algo.stepsize"] == pytest.approx(1.0)


def test_a_glob_means_all_it_matches_and_leaves_out_what_is_dead():
    assert names(build(learn=["algo.*"])) == {"algo.raw_stepsize", "algo.raw_lambda_reg"}
    found = names(build(prior=plug(), learn=["algo.*", "prior.sigma"]))
    assert found == {"algo.raw_stepsize", "prior.raw_sigma"}  # λ is dead under PnP
    assert "prior.raw_sigma" not in names(build(prior=plug(sigma=False), learn=["prior.*"]))


def test_a_part_of_a_network_may_be_learned():
    found = names(build(prior=plug(), learn=["prior.denoiser.noise.0.*"]))
    assert found == {"prior.denoiser.noise.0.weight", "prior.denoiser.noise.0.bias"}
    assert not names(build(prior=plug(), learn=[]))


def test_an_untied_scalar_has_a_value_for_each_iteration():
    net = build(learn=["algo.*"], untied=["algo.stepsize"])
    assert net.algo.raw_stepsize.shape == (3,) and net.algo.raw_lambda_reg.shape == ()
    with torch.no_grad():
        net.algo.raw_stepsize += torch.tensor([0.0, 0.1, 0.2])
    A = blur(6)
    y = measured(A)
    values = [
        float(a.stepsize.detach() * A.norm_squared) for a, _ in map(net.steps(y, A).at, range(3))
    ]
    assert values == pytest.approx(torch.tensor([0.0, 0.1, 0.2]).exp().tolist(), rel=1e-5)
    weighted_loss(net(y, A)).backward()
    assert net.algo.raw_stepsize.grad.abs().min() > 0


def test_an_untied_network_is_as_many_networks():
    net = build(prior=plug(), learn=["prior.*"], untied=["prior.denoiser"])
    one = sum(p.numel() for p in plug().denoiser.parameters())
    assert sum(p.numel() for p in net.prior.denoiser.parameters()) == 3 * one
    A = blur(6)
    weighted_loss(net(measured(A), A)).backward()
    grads = [net.prior.denoiser[k].noise[0].weight.grad for k in range(3)]
    assert all(g is not None and g.any() for g in grads) and not torch.equal(grads[0], grads[1])


def test_a_list_and_a_schedule_give_one_value_for_each_iteration():
    net = reconstructor(PGD(stepsize=[0.5, 1.0, 1.5]), Unfolded(3), learn=["algo.*"])
    assert net.parameter_values()["algo.stepsize"].tolist() == pytest.approx([0.5, 1.0, 1.5])
    schedule = Geometric(1.0, 0.25, 3)
    net = reconstructor(PGD(lambda_reg=schedule), Unfolded(3), learn=[])
    assert net.parameter_values()["algo.lambda_reg"].tolist() == pytest.approx([1.0, 0.5, 0.25])


@pytest.mark.parametrize(
    "choices, words",
    [
        (
            {"learn": ["algo.stepsiz"]},
            r"learn = .*'algo.stepsiz' matches nothing, did you mean 'alg"
            r"o.stepsize'\? Available: algo.lambda_reg, algo.stepsize",
        ),
        ({"untied": ["prior.sigm*"]}, r"Trainable.untied = .*'prior.sigm\*' matches nothing"),
        ({"relative": ["algo.step"]}, r"Trainable.relative = .* matches nothing"),
        ({"relative": ["algo.lambda_reg"]}, r"names 'algo.lambda_reg', which has no unit of ‖A‖"),
        (
            {"constrain": {"algo.tau": [0.0, 1.0]}},
            r"Trainable.constrain = .*'algo.tau' matches nothing",
        ),
        (
            {"constrain": {"algo.stepsize": [-1.0, 2.0]}},
            r"constrain.algo.stepsize = \[-1.0, 2.0\]: must lie "
            r"inside the set of algo.stepsize, which is positive",
        ),
        (
            {"constrain": {"algo.stepsize": [1.5, 2.0]}},
            r"algo.stepsize = 1.0: must be in \[1.5, 2\]",
        ),
        ({"constrain": {"algo.stepsize": [2.0, 1.0]}}, r"low < high, got \[2.0, 1.0\]"),
        (
            {"constrain": {"algo.stepsize": [0.0, 1.0, 2.0]}},
            r"= \[0.0, 1.0, 2.0\]: two numbers are expected",
        ),
    ],
)
def test_a_choice_that_cannot_be_meant_is_refused_in_words(choices: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        build(**choices)


def test_a_dead_name_is_refused_with_its_reason():
    with pytest.raises(
        ConfigError, match=r"'algo.lambda_reg', which cannot act: prior PnP takes no"
    ):
        build(prior=plug(), learn=["algo.lambda_reg"])
    with pytest.raises(ConfigError, match=r"'prior.sigma', which cannot act: DnCNN takes no noise"):
        build(prior=plug(sigma=False), learn=["prior.sigma"])


def test_a_network_has_no_set_to_narrow():
    with pytest.raises(ConfigError, match=r"names 'prior.denoiser', a network: only scalars"):
        build(prior=plug(), constrain={"prior.denoiser": [0.0, 1.0]})


def test_what_repeats_one_step_needs_one_value():
    with pytest.raises(
        ConfigError, match=r"untied = \['algo.\*'\].*one and the same step.*unfolded model"
    ):
        build(DEQ(), untied=["algo.*"])
    for value in ([1.0, 2.0], Geometric(1.0, 0.5, 3)):
        with pytest.raises(ConfigError, match=r"algo.stepsize = .*needs a number"):
            reconstructor(PGD(stepsize=value), DEQ())


def test_a_list_of_another_length_is_refused():
    with pytest.raises(ConfigError, match=r"stepsize = \[1.0, 2.0\].*3 are expected.*, 2 came"):
        reconstructor(PGD(stepsize=[1.0, 2.0]), Unfolded(3))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: PGD(stepsize=0.0), "PGD.stepsize = 0.0: must be positive"),
        (lambda: PGD(stepsize=float("nan")), "PGD.stepsize = nan: must be positive"),
        (lambda: PGD(stepsize=float("inf")), "PGD.stepsize = inf: must be positive"),
        (lambda: PGD(stepsize=[1.0, -1.0]), r"PGD.stepsize = \[1.0, -1.0\]: must be positive"),
        (lambda: ADMM(beta=2.5), r"ADMM.beta = 2.5: must be in \[0, 2\]"),
        (lambda: PDHG(theta=-0.1), r"PDHG.theta = -0.1: must be in \[0, 1\]"),
        (lambda: PGD(stepsize=True), "PGD.stepsize = True: a number is expected"),
        (lambda: PGD(stepsize=["a"]), r"PGD.stepsize = \['a'\]: a list of numbers is expected"),
        (lambda: PnP(DnCNN(1), sigma=-0.1), "PnP.sigma = -0.1: must be zero or positive"),
    ],
)
def test_a_value_outside_its_set_is_refused(make: Any, words: str):
    with pytest.raises(ConfigError, match=words):
        make()


@pytest.mark.parametrize("choices", [{}, {"constrain": {"algo.stepsize": [0.2, 1.9]}}])
def test_every_set_holds_after_thirty_aggressive_steps(choices: dict[str, Any]):
    A = blur(6)
    y = measured(A)
    net = reconstructor(ADMM(beta=1.5), Unfolded(3), Tikhonov(), untied=["algo.*"], **choices)
    optimizer = torch.optim.Adam(net.parameters(), lr=1.0)
    for _ in range(30):
        optimizer.zero_grad()
        (-net(y, A).square().sum()).backward()  # a loss that pushes as far as it can
        for p in learned(net):
            p.grad = torch.where(p.grad.isfinite(), p.grad, 1.0)
        optimizer.step()
    for name, plan in net.algo.plans.items():
        assert plan.constraint.holds(net.algo.value(name)), (name, net.algo.value(name))


@pytest.mark.parametrize("direction", [-1.0, 1.0])
def test_one_enormous_step_does_not_leave_the_set(direction: float):
    net = reconstructor(PGD(), Unfolded(2), learn=["algo.*"])
    with torch.no_grad():
        for p in learned(net):
            p += 60 * direction
    for name, plan in net.algo.plans.items():
        assert plan.constraint.holds(net.algo.value(name))


def test_a_checkpoint_of_learned_values_does_not_load_as_fixed_ones_nor_back():
    fixed, free = build(learn=[]), build(learn=["algo.*"])
    with pytest.raises(RuntimeError, match="raw_stepsize"):
        fixed.load_state_dict(free.state_dict())
    with pytest.raises(RuntimeError, match="raw_stepsize"):
        free.load_state_dict(fixed.state_dict())
    untied = build(learn=["algo.*"], untied=["algo.*"])
    with pytest.raises(RuntimeError, match="size mismatch"):
        untied.load_state_dict(free.state_dict())


def test_the_state_holds_each_thing_once():
    net = build(prior=plug())
    state = net.state_dict()
    assert len({t.data_ptr() for t in state.values()}) == len(state)
    own = {f"prior.denoiser.{n}" for n, _ in plug().denoiser.named_parameters()}
    scalars = {"algo.raw_stepsize", "algo.lambda_reg", "prior.raw_sigma"}
    assert set(state) == own | scalars


@pytest.mark.parametrize("model", [Unfolded(3), DEQ()])
def test_copies_and_pickles_compute_the_same_and_share_nothing(model: Model):
    A = blur(6)
    y = measured(A)
    net = reconstructor(PGD(), model, network_prior())
    want = net(y, A).detach()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(other(y, A).detach(), want)
        with torch.no_grad():
            for p in other.parameters():
                p.add_(0.1)
        assert difference(other(y, A), want) > 1e-6
        assert torch.equal(net(y, A).detach(), want)


@pytest.mark.parametrize("algorithm", [PGD(), ADMM(beta=1.2), PDHG(theta=0.9)])
@pytest.mark.parametrize("prior", ["tikhonov", "network"])
def test_everything_learned_gets_a_gradient(algorithm: Any, prior: str):
    A = blur(6)
    net = reconstructor(algorithm, Unfolded(3), Tikhonov() if prior == "tikhonov" else plug())
    weighted_loss(net(measured(A), A)).backward()
    for name, p in net.named_parameters():
        assert p.requires_grad == (p.grad is not None), name
        assert p.grad is None or p.grad.any(), name


def test_a_set_is_widened_only_where_it_is_said():
    values = {"algo.stepsize": [-2.0, 3.0]}
    with pytest.raises(
        ConfigError, match=r"may only be narrowed. Trainable.widen=\{algo.stepsize:"
    ):
        Reconstructor(PGD(), L1(), L2(), Unfolded(2), trainable=Trainable(constrain=values))
    net = Reconstructor(PGD(), L1(), L2(), Unfolded(2), trainable=Trainable(widen=values))
    with torch.no_grad():
        net.algo.raw_stepsize.fill_(-1.0)
    expected = -2 + 5 * torch.sigmoid(torch.tensor(-1.0))
    assert torch.allclose(net.parameter_values()["algo.stepsize"], expected)
    free = Trainable(widen={"algo.*": [-math.inf, math.inf]}, untied=("algo.stepsize",))
    net = Reconstructor(PGD(), L1(), L2(), Unfolded(2), trainable=free)
    assert str(net.algo.plans["stepsize"].constraint) == "finite"
    assert net.algo.raw_stepsize.tolist() == [1.0, 1.0]  # the value itself
    both = Trainable(widen=values, constrain={"algo.stepsize": [0.0, 1.0]})
    with pytest.raises(ConfigError, match="whose set is given twice"):
        Reconstructor(PGD(), L1(), L2(), Unfolded(2), trainable=both)
