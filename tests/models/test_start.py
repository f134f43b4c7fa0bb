"""A warm start, copies, and iterates with gradients."""

import copy
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
from unfold.denoisers.nonexpansive import NonexpansiveResNet
from unfold.errors import ShapeError
from unfold.models.classical import Classical
from unfold.models.deq import DEQ
from unfold.models.unfolded import Full, Truncated, Unfolded
from unfold.priors.denoiser_priors import PnP

ALGORITHMS: dict[str, Any] = {"pgd": PGD(), "admm": ADMM(beta=1.2), "pdhg": PDHG()}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_equilibrium_started_at_itself_is_done_after_two_pairs(name: str):
    A, y = blur(6, batch=2), measured(blur(6, batch=2), batch=2)
    net = reconstructor(ALGORITHMS[name], DEQ(tol=1e-6, max_iterations=200), network_prior())
    first = net.solve(y, A)
    weighted_loss(first.image).backward()
    again = net.solve(y, A, start=first.state)
    assert (first.iterations > 3).all() and (again.iterations <= 2).all()
    assert again.converged.all() and difference(again.image, first.image) < 1e-5
    weighted_loss(again.image).backward()  # no graph of the first call is entered


@pytest.mark.parametrize("name", ALGORITHMS)
def test_steps_in_two_parts_are_the_steps_in_one(name: str):
    A, y = blur(6), measured(blur(6))
    for model, half in (
        (Unfolded(6), Unfolded(3)),
        (Classical(1e-30, 6, 3), Classical(1e-30, 3, 3)),
    ):
        whole = reconstructor(ALGORITHMS[name], model).solve(y, A)
        part = reconstructor(ALGORITHMS[name], half)
        assert torch.equal(part.solve(y, A, start=part.solve(y, A).state).image, whole.image)


def test_a_start_of_another_kind_is_refused():
    A, y = blur(6), measured(blur(6))
    other = reconstructor(ADMM(), Unfolded(2)).solve(y, A).state
    with pytest.raises(
        ShapeError, match=r"start is ADMMState\(.*PGD needs ImageState\(\(1, 1, 6, 6\)"
    ):
        reconstructor(PGD(), DEQ()).solve(y, A, start=other)
    small = reconstructor(PGD(), DEQ()).solve(measured(blur(4)), blur(4)).state
    with pytest.raises(ShapeError, match=r"\(1, 1, 4, 4\) of float64.* needs .*\(1, 1, 6, 6\)"):
        reconstructor(PGD(), DEQ()).solve(y, A, start=small)


@pytest.mark.parametrize("model", [Unfolded(3), DEQ()])
def test_a_copy_and_a_pickle_are_the_same_reconstructor(model: Any):
    A, y = blur(6), measured(blur(6))
    net = reconstructor(ADMM(), model, PnP(NonexpansiveResNet(1, 3, 4)))
    weighted_loss(net(y, A)).backward()  # used before, so that nothing kept is in the way
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(other(y, A), net(y, A))
        assert set(other.state_dict()) == set(net.state_dict())
        with torch.no_grad():
            for p in learned(other):
                p.add_(0.1)
        assert not torch.equal(other(y, A), net(y, A))
        if isinstance(model, DEQ):
            warm = other.solve(y, A, start=net.solve(y, A).state)
            assert warm.converged.all()


def test_kept_iterates_carry_the_gradient_of_their_own_steps():
    A, y = blur(6), measured(blur(6))
    for name, algorithm in ALGORITHMS.items():
        net = reconstructor(algorithm, Unfolded(4, Full()), network_prior())
        deep = net.solve(y, A, keep_iterates=True).iterates
        assert len(deep) == 5 and not deep[0].requires_grad
        for k in (1, 3):
            short = reconstructor(algorithm, Unfolded(k), network_prior())
            got, want = (
                torch.autograd.grad(
                    weighted_loss(image), learned(model), retain_graph=True, allow_unused=True
                )
                for image, model in ((deep[k], net), (short(y, A), short))
            )
            for g, w in zip(got, want, strict=True):
                assert (g is None and w is None) or difference(g, w) < 1e-9, name


def test_truncated_iterates_have_no_gradient_before_the_last_steps():
    A, y = blur(6), measured(blur(6))
    net = reconstructor(PGD(), Unfolded(4, Truncated(2)), network_prior())
    kept = net.solve(y, A, keep_iterates=True).iterates
    assert [image.requires_grad for image in kept] == [False, False, False, True, True]
