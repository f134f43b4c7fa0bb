"""Weights of terms and of sub-bands as parameters: learned, untied, copied, refused."""

import copy
import pickle
from typing import Any

import pytest
import torch

from tests.engine import blur, difference, learned, measured, reconstructor, weighted_loss
from unfold.algorithms.pgd import PGD
from unfold.denoisers.dncnn import DnCNN
from unfold.errors import ConfigError
from unfold.models.classical import Classical
from unfold.models.deq import DEQ
from unfold.models.model import Model
from unfold.models.unfolded import Unfolded
from unfold.parameters.schedules import Linear
from unfold.priors.box import Box
from unfold.priors.composite import Sum, Weighted
from unfold.priors.denoiser_priors import PnP
from unfold.priors.l1 import L1
from unfold.priors.prior import Prior
from unfold.priors.wavelet import WaveletBands
from unfold.reconstructor import Reconstructor


def build(prior: Prior, model: Model | None = None, **choices: Any) -> Reconstructor:
    return reconstructor(PGD(), model or Unfolded(3), prior, **choices)


def bands(weights: Any = 1.0) -> WaveletBands:
    return WaveletBands("haar", 1, weights=weights)


def in_a_box() -> Sum:
    return Sum((Weighted(L1(), 0.5), Box()))


def loss_of(net: Reconstructor) -> torch.Tensor:
    A = blur(8)
    return weighted_loss(net(measured(A), A))


def test_a_vector_is_one_parameter_with_a_gradient_for_every_entry():
    net = build(bands(), learn=["prior.weights"])
    assert dict(net.named_parameters()).keys() == {"prior.raw_weights"}
    assert net.parameter_values()["prior.weights"].tolist() == [1.0, 1.0, 1.0]
    loss_of(net).backward()
    assert net.prior.raw_weights.grad.shape == (3,) and net.prior.raw_weights.grad.all()


def test_an_untied_vector_has_a_row_for_each_iteration():
    net = build(bands([0.5, 1.0, 2.0]), learn=["prior.*"], untied=["prior.weights"])
    assert net.parameter_values()["prior.weights"].tolist() == [
        pytest.approx([0.5, 1.0, 2.0]) for _ in range(3)
    ]
    loss_of(net).backward()
    assert net.prior.raw_weights.grad.shape == (3, 3) and net.prior.raw_weights.grad.all()


def test_rows_and_schedules_are_read_in_the_order_of_iterations_and_bands():
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]
    found = build(bands(rows)).parameter_values()["prior.weights"]
    assert found.tolist() == [pytest.approx(row) for row in rows]
    found = build(bands(Linear(1.0, 3.0, 3))).parameter_values()["prior.weights"]
    assert found.tolist() == [pytest.approx([c] * 3) for c in (1.0, 2.0, 3.0)]


def test_a_vector_reaches_the_right_bands():
    A = blur(8)
    y, weights = measured(A), [0.5, 1.0, 2.0]
    net = build(bands(weights), learn=[])
    _, problem = net.steps(y, A).at(0)
    assert difference(problem.g.prox(y, 0.1), bands(weights).prox(y, 0.1)) < 1e-7


@pytest.mark.parametrize(
    "weights, model, words",
    [
        ([1.0, 2.0], Unfolded(3), r"prior.weights = \[1.0, 2.0\]: 3 entries are expected"),
        ([[1.0] * 3] * 2, Unfolded(3), r"3 are expected \(Unfolded.iterations\), 2 came"),
        ([[1.0] * 3] * 3, DEQ(), "repeats one and the same step"),
        ([1.0, -1.0, 1.0], Unfolded(3), "must be zero or positive"),
    ],
)
def test_a_vector_that_cannot_be_meant_is_refused(weights: Any, model: Model, words: str):
    with pytest.raises(ConfigError, match=words):
        build(bands(weights), model)


def test_the_entries_of_a_vector_are_not_taken_for_images():
    # three images and three bands: what is done leaves the batch, the weights must not
    net = build(bands([0.1, 1.0, 5.0]), Classical(tol=1e-3, max_iterations=400, every=5))
    A = blur(8, batch=3)
    y = measured(A, batch=3) * torch.tensor([1.0, 1e-3, 30.0]).reshape(3, 1, 1, 1).double()
    whole = net.solve(y, A)
    assert len(set(whole.iterations.tolist())) > 1
    for i in range(3):
        alone = net(y[i : i + 1], A.take(torch.tensor([i]), 3))
        assert difference(alone, whole.image[i : i + 1]) < 1e-10


def test_each_term_learns_its_weight_under_its_own_name():
    net = build(in_a_box(), learn=["prior.terms.0.weight"], untied=["prior.terms.0.*"])
    assert set(dict(net.named_parameters())) == {"prior.terms.0.raw_weight"}
    assert net.parameter_values()["prior.terms.0.weight"].tolist() == pytest.approx([0.5] * 3)
    loss_of(net).backward()
    assert all(p.grad is not None and p.grad.all() for p in learned(net))


def test_a_weight_that_cannot_act_is_refused_by_name_and_skipped_by_glob():
    prior = Sum((Weighted(Box()), L1()))
    assert "prior.terms.0.raw_weight" not in dict(
        build(prior, learn=["prior.*"]).named_parameters()
    )
    with pytest.raises(
        ConfigError, match=r"'prior.terms.0.weight', which cannot act: Box takes no"
    ):
        build(prior, learn=["prior.terms.0.weight"])


def test_a_network_in_a_sum_is_there_once_and_may_be_untied():
    prior = Sum((PnP(DnCNN(1, 3, 4)),))
    net = build(prior, learn=["prior.terms.0.denoiser.noise.0.*"])
    own = "prior.terms.0.denoiser.noise.0"
    assert {n for n, p in net.named_parameters() if p.requires_grad} == {
        f"{own}.weight", f"{own}.bias",
    }  # fmt: skip
    one = sum(p.numel() for p in DnCNN(1, 3, 4).parameters())
    size = len(pickle.dumps(net))
    assert size < 2 * 8 * one + 40_000  # not twice
    untied = build(prior, untied=["prior.terms.0.denoiser"])
    assert sum(p.numel() for p in untied.prior.parameters()) == 3 * one
    loss_of(untied).backward()
    assert all(p.grad is not None for p in untied.prior.parameters())


def test_copies_compute_the_same_and_share_nothing():
    net = build(in_a_box())
    want = loss_of(net).detach()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(loss_of(other).detach(), want)
        with torch.no_grad():
            for p in other.parameters():
                p.add_(0.1)
        assert torch.equal(loss_of(net).detach(), want)
