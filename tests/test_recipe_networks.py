"""Networks and tensors in the fields of a recipe: trained and saved, or refused; per iteration."""

import copy
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.engine import blur, difference, measured, reconstructor
from unfold.algorithms.algorithm import Algorithm, Guarantee, ImageState
from unfold.algorithms.learned_primal_dual import DualBlock, LearnedPrimalDual, PrimalBlock
from unfold.algorithms.pgd import PGD
from unfold.builders import BaseDEQ
from unfold.denoisers.dncnn import ConditionalDnCNN, DnCNN
from unfold.denoisers.nonexpansive import NonexpansiveResNet
from unfold.errors import ConfigError
from unfold.fidelities.l2 import L2
from unfold.models.classical import Classical
from unfold.models.deq import DEQ
from unfold.models.unfolded import Unfolded
from unfold.parameters.constraints import positive
from unfold.parameters.declare import param
from unfold.parameters.networks import PerIteration
from unfold.priors.denoiser_priors import PnP
from unfold.priors.prior import Prior
from unfold.reconstructor import Reconstructor
from unfold.typing import Image, Scalar


def layer(seed: int = 0) -> nn.Conv2d:
    torch.manual_seed(seed)
    return nn.Conv2d(1, 1, 3, padding=1, bias=False).double()


@dataclass(frozen=True)
class Filters(Prior):
    """∇g(x) = Σ wᵢ Nᵢ(x) + b x, and a mapping of networks: one field of every kind."""

    provides = frozenset({"grad"})

    networks: Any = ()
    weights: Any = None
    named: Any = field(default_factory=dict)
    scale: Any = None
    strength: Scalar = param(1.0, positive)

    def grad(self, x: Image) -> Image:
        total = sum((n(x) for n in self.networks), start=torch.zeros_like(x))
        total = total + sum((n(x) for n in self.named.values()), start=torch.zeros_like(x))
        if self.weights is not None:
            total = total + self.weights * x
        scale = 1.0 if self.scale is None else self.scale
        return self.strength * scale * total


@dataclass(frozen=True)
class Descent(Algorithm[ImageState]):
    """x − τ(∇f(x) + ∇g(x))."""

    needs_g = frozenset({"grad"})
    needs_f = frozenset({"grad"})

    def init(self, problem: Any) -> ImageState:
        return ImageState(problem.start)

    def step(self, state: ImageState, problem: Any) -> ImageState:
        x = state.x
        return ImageState(x - 0.3 * (problem.f.grad(x) + problem.g.grad(x)))

    def guarantee(self, problem: Any) -> Guarantee:
        return Guarantee("not known", False)


def everything() -> Filters:
    return Filters(
        networks=(layer(1), layer(2)),
        weights=nn.Parameter(torch.full((1, 1, 1, 1), 0.1, dtype=torch.float64)),
        named={"edge": layer(3), "corner": layer(4)},
        scale=torch.tensor(0.5, dtype=torch.float64),
    )


def test_every_network_and_parameter_of_a_field_is_trained_saved_and_used():
    prior, A = everything(), blur(6)
    held = [*prior.networks, *prior.named.values()]
    net = reconstructor(Descent(), Unfolded(3), prior)
    names = {name for name, p in net.named_parameters() if p.requires_grad}
    expected = {"networks.0.weight", "networks.1.weight", "named.edge.weight", "weights"}
    assert {f"prior.{n}" for n in {*expected, "named.corner.weight", "raw_strength"}} == names
    assert "prior.scale" in net.state_dict()
    net(measured(A), A).square().sum().backward()
    assert all(float(n.weight.grad.abs().max()) > 0 for n in held)
    # The reference: the same iteration written out.
    x = A.A_adjoint(measured(A))
    y = measured(A)
    for _ in range(3):
        g = sum(n(x) for n in held) + 0.1 * x
        x = x - 0.3 * (A.normal(x) - A.A_adjoint(y) + 0.5 * g)
    assert difference(net(y, A), x) < 1e-12
    other = reconstructor(Descent(), Unfolded(3), everything())
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(0.7)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(y, A), net(y, A))


def test_parameters_and_networks_of_containers_are_chosen_by_name():
    net = reconstructor(
        Descent(), Unfolded(3), everything(), learn=["prior.weights", "prior.networks.1"]
    )
    names = {name for name, p in net.named_parameters() if p.requires_grad}
    assert names == {"prior.weights", "prior.networks.1.weight"}
    untied = reconstructor(Descent(), Unfolded(3), everything(), untied=["prior.weights"])
    shapes = {n: tuple(p.shape) for n, p in untied.named_parameters() if "prior.weights" in n}
    assert shapes == {f"prior.weights.{k}": (1, 1, 1, 1) for k in range(3)}
    A = blur(6)
    untied(measured(A), A).square().sum().backward()
    assert all(float(p.grad.abs()) > 0 for n, p in untied.named_parameters() if n in shapes)


class Foreign:
    def __init__(self, held: Any) -> None:
        self.held = held


@pytest.mark.parametrize(
    "hide",
    [
        Foreign,
        lambda network: lambda x: network(x),
        lambda network: network.forward,
        lambda network: partial(torch.add, network.weight),
        lambda network: {network},
        lambda network: Foreign([{"deep": network}]),
        lambda network: (Foreign(torch.ones(2)),),
    ],
)
def test_what_cannot_be_registered_is_refused(hide: Any):
    with pytest.raises(ConfigError, match=r"Filters.scale.*: .* holds a network or a tensor"):
        reconstructor(Descent(), Unfolded(2), Filters(scale=hide(layer())))


def test_a_tensor_with_a_gradient_must_be_a_parameter():
    loose = torch.ones((), requires_grad=True)
    with pytest.raises(ConfigError, match=r"Filters.scale .* make it an nn.Parameter"):
        reconstructor(Descent(), Unfolded(2), Filters(scale=loose))


def test_a_network_outside_of_algorithm_and_prior_is_refused():
    @dataclass(frozen=True)
    class Learned(L2):
        network: Any = None

    with pytest.raises(ConfigError, match=r"Learned holds a network .* nothing of the fidelity is"):
        Reconstructor(PGD(), PnP(DnCNN(1)), Learned(network=layer()), Unfolded(2))


def test_a_list_of_modules_is_one_network_and_not_one_for_each_iteration():
    prior = Filters(networks=nn.ModuleList([layer(1), layer(2)]))
    A = blur(6)
    net = reconstructor(Descent(), Unfolded(3), prior)
    same = reconstructor(Descent(), Unfolded(3), Filters(networks=(layer(1), layer(2))))
    assert torch.equal(net(measured(A), A), same(measured(A), A))
    assert not net.prior.varies


def test_unequal_networks_per_iteration():
    torch.manual_seed(0)
    stages = [DnCNN(1, 2, 3), ConditionalDnCNN(1, 3, 4), DnCNN(1, 4, 2)]
    A = blur(6)
    y = measured(A)
    net = reconstructor(PGD(), Unfolded(3), PnP(PerIteration(stages), 0.1))
    x = A.A_adjoint(y)
    for network in stages:
        x = network(x - (A.normal(x) - A.A_adjoint(y)) / A.norm_bound, 0.1)
    assert difference(net(y, A), x) < 1e-12
    for model, words in ((Unfolded(2), "2 networks"), (DEQ(), "one network for all")):
        with pytest.raises(ConfigError, match=f"prior.denoiser: 3 networks came, .* {words}"):
            reconstructor(PGD(), model, PnP(PerIteration(stages)))


def test_weights_inside_a_network_are_not_untied_alone():
    with pytest.raises(ConfigError, match=r"weights inside .*Write untied=\[prior.denoiser\]"):
        reconstructor(
            PGD(), Unfolded(2), PnP(DnCNN(1, 3, 4)), untied=["prior.denoiser.noise.0.weight"]
        )


def spread(copies: Any) -> float:
    first, *others = (torch.cat([p.flatten() for p in c.parameters()]) for c in copies)
    return min(float((first - other).detach().norm() / first.detach().norm()) for other in others)


def test_untied_networks_start_independently():
    torch.manual_seed(0)
    net = reconstructor(PGD(), Unfolded(3), PnP(DnCNN(1, 3, 4)), untied=["prior.*"])
    assert spread(net.prior.denoiser) > 0.5
    blocks = LearnedPrimalDual(PrimalBlock(1), DualBlock(1))
    net = reconstructor(blocks, Unfolded(3), PnP(DnCNN(1)), untied=["algo.*"])
    assert spread(net.algo.primal) > 0.5 and spread(net.algo.dual) > 0.5
    # The distribution is that of the class: equal sizes layer by layer.
    one, two = (dict(c.named_parameters()) for c in list(net.algo.primal)[:2])
    for name, p in one.items():
        if p.numel() > 100:
            assert float((two[name].std() / p.std()).detach()) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("change", ["loaded", "trained", "moved"])
def test_weights_that_were_set_are_copied(change: str):
    torch.manual_seed(0)
    network = DnCNN(1, 3, 4)
    if change == "loaded":
        network.load_state_dict(DnCNN(1, 3, 4).state_dict())
    elif change == "trained":
        torch.optim.SGD(network.parameters(), 0.1).zero_grad()
        network(torch.rand(1, 1, 6, 6), 0.0).square().sum().backward()
        torch.optim.SGD(network.parameters(), 0.1).step()
    else:
        next(network.parameters()).data += 1e-3
    before = copy.deepcopy(network.state_dict())
    net = reconstructor(PGD(), Unfolded(3), PnP(network), untied=["prior.*"])
    assert spread(net.prior.denoiser) == 0
    held = net.prior.denoiser[2].state_dict()
    assert all(torch.equal(held[name], t) for name, t in before.items())


def test_samples_are_taken_of_scalars_and_never_of_the_tensors_of_a_prior():
    """A tensor whose first size happens to be that of the batch belongs to every sample."""
    rows = torch.rand(3, 1, dtype=torch.float64)
    A = blur(6, batch=3)
    y = measured(A, batch=3)

    @dataclass(frozen=True)
    class Rows(Filters):
        def grad(self, x: Image) -> Image:
            assert isinstance(self.scale, Tensor) and self.scale.shape == (3, 1)
            return self.scale.sum() * x

    model = Classical(tol=1e-3, every=1, max_iterations=200)
    net = reconstructor(Descent(), model, Rows(scale=rows))
    whole = net(y, A)
    for i in range(3):
        one = net(y[i : i + 1], A.take(torch.tensor([i]), 3))
        assert difference(one, whole[i : i + 1]) < 1e-12


@dataclass(frozen=True)
class Loose(Filters):
    """Networks in no field that the constructor takes."""

    kept: Any = field(default=None, init=False)
    how: str = "set"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "kept" if self.how == "init" else "extra", layer())


class Shared(Filters):
    """A network of the class."""

    filters = layer()


class Opaque(nn.Module):
    """A network with weights in an attribute."""

    def __init__(self, hidden: Any) -> None:
        super().__init__()
        self.inner = nn.Sequential(layer())
        self.inner.hidden = hidden

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def objects(network: nn.Module) -> Any:
    found = np.empty(1, object)
    found[0] = network
    return found


REFUSED = {
    "attribute": lambda n: Loose(),
    "init=False": lambda n: Loose(how="init"),
    "class": lambda n: Shared(),
    "default": lambda n: Filters(scale=lambda x, f=n: f(x)),
    "keyword": lambda n: Filters(scale=lambda x, *, f=n: f(x)),
    "deque": lambda n: Filters(networks=deque([n])),
    "view": lambda n: Filters(networks={"a": n}.values()),
    "objects": lambda n: Filters(networks=objects(n)),
    "iterator": lambda n: Filters(networks=iter([n])),
    "generator": lambda n: Filters(named={"a": (m for m in [n])}),
    "equal keys": lambda n: Filters(named={1: n, "1": layer(2)}),
    "dot": lambda n: Filters(named={"a.b": n}),
    "keys": lambda n: Filters(named={"keys": n}),
    "nested keys": lambda n: Filters(networks=({"values": n},)),
    "list": lambda n: Filters(networks=(Opaque([n]),)),
    "mapping": lambda n: Filters(networks=(Opaque({"a": (n,)}),)),
    "tensor": lambda n: Filters(networks=(Opaque(torch.ones(1, requires_grad=True)),)),
    "computed": lambda n: Filters(networks=(Opaque(2 * torch.ones(1, requires_grad=True)),)),
    "parameters": lambda n: Filters(networks=(Opaque([nn.Parameter(torch.ones(1))]),)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_networks_that_would_silently_not_train_are_refused(case: str):
    with pytest.raises(ConfigError):
        reconstructor(Descent(), Unfolded(2), REFUSED[case](layer()))


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_registered_networks_in_plain_attributes_are_used_as_they_are():
    network = Opaque([nn.ReLU()])
    network.same = [network.inner[0]]
    network.numbers = np.ones(3)
    normed = nn.utils.weight_norm(layer())
    reconstructor(Descent(), Unfolded(2), Filters(networks=(network, normed), scale=range(10**9)))


@pytest.mark.parametrize(
    ("algorithm", "prior", "words"),
    [
        (Descent(), Filters(networks=(layer(),)), r"Filters uses Conv2d .* measured \d"),
        (LearnedPrimalDual(), PnP(DnCNN(1)), "LearnedPrimalDual uses PrimalBlock and DualBlock"),
    ],
)
def test_nothing_is_claimed_of_other_networks_in_an_equilibrium(
    algorithm: Any, prior: Any, words: str
):
    with pytest.warns(UserWarning, match=words):
        Reconstructor(algorithm, prior, L2(), DEQ())
    with pytest.raises(ConfigError, match=words):
        Reconstructor(algorithm, prior, L2(), DEQ(), strict=True)


def test_the_builder_of_an_equilibrium_has_its_defaults_and_is_strict_where_asked():
    prior = PnP(NonexpansiveResNet(1, 3, 4))
    model: Any = BaseDEQ("PGD", prior=prior).model
    assert (model.tol, model.max_iterations) == (DEQ().tol, DEQ().max_iterations)
    with pytest.raises(ConfigError, match="nothing is known"):
        BaseDEQ(Descent(), prior=Filters(networks=(layer(),)), strict=True)
