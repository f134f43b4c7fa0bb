"""The learned primal–dual network: its formula, its memory, what is learned, what is refused."""

from dataclasses import replace

import pytest
import torch

import unfold
from tests.engine import (
    blur,
    difference,
    learned,
    measured,
    network_prior,
    problem,
    reconstructor,
    run,
    weighted_loss,
)
from unfold.algorithms.learned_primal_dual import DualBlock, LearnedPrimalDual, PrimalBlock
from unfold.errors import ConfigError, ShapeError
from unfold.models.classical import Classical
from unfold.models.unfolded import Checkpoint, Unfolded
from unfold.priors.tikhonov import Tikhonov


def algorithm(seed: int = 0) -> LearnedPrimalDual:
    torch.manual_seed(seed)
    blocks = PrimalBlock(1, 3, 3, 4).double(), DualBlock(1, 2, 3, 4).double()
    with torch.no_grad():
        for block in blocks:
            for p in block.parameters():
                p.add_(0.1 * torch.randn_like(p))
    return LearnedPrimalDual(*blocks)


def test_the_first_iterates_are_those_of_the_formulas():
    own, at = algorithm(), problem(blur(6, batch=2), Tikhonov(), batch=2)
    P, D = own.primal.layers, own.dual.layers
    x = [at.start] * 3
    u = [torch.zeros_like(at.y)] * 2
    for k in range(4):
        state = run(own, at, k)
        assert difference(own.image(state), x[0]) < 1e-12, f"iterate {k}"
        assert difference(state.x, torch.cat(x, 1)) < 1e-12
        new = torch.cat(u, 1) + D(torch.cat((*u, at.A(x[1]), at.y), 1))
        u = list(new.split(1, 1))
        x = list((torch.cat(x, 1) + P(torch.cat((*x, at.A_adjoint(u[0])), 1))).split(1, 1))


def test_the_networks_have_the_sizes_of_the_paper():
    def count(inputs: int, outputs: int) -> int:
        widths = ((inputs, 32), (32, 32), (32, outputs))
        return sum(9 * a * b + b for a, b in widths) + 2 * 32  # convolutions, then two PReLUs

    primal, dual = unfold.PrimalBlock(), unfold.DualBlock()
    assert sum(p.numel() for p in primal.parameters()) == count(6, 5)
    assert sum(p.numel() for p in dual.parameters()) == count(7, 5)


def test_untied_networks_differ_and_all_of_them_learn():
    A = blur(6)
    y = measured(A)
    for untied, copies in (([], 1), (["algo.*"], 4)):
        net = reconstructor(algorithm(), Unfolded(4), untied=untied)
        one = sum(p.numel() for p in (*algorithm().primal.parameters(),))
        found = sum(p.numel() for n, p in net.named_parameters() if "primal" in n)
        assert found == copies * one
        weighted_loss(net(y, A)).backward()
        for name, p in net.named_parameters():
            # In the first iteration all images of the memory are the same; the last one reads u₁.
            assert p.grad is not None and (p.grad.abs().max() > 0), name


def test_a_checkpointed_gradient_is_the_plain_one():
    A = blur(6)
    y, grads = measured(A), []
    for backward in (None, Checkpoint()):
        model = Unfolded(3) if backward is None else Unfolded(3, backward)
        net = reconstructor(algorithm(), model, untied=["algo.*"])
        grads.append(torch.autograd.grad(weighted_loss(net(y, A)), learned(net)))
    assert all(difference(a, b) < 1e-12 for a, b in zip(*grads, strict=True))


def test_the_gradient_is_that_of_differences():
    A, net = blur(4), reconstructor(algorithm(), Unfolded(2))
    y = measured(A)
    loss = weighted_loss(net(y, A))
    for p in learned(net)[:6]:
        (slope,) = torch.autograd.grad(loss, p, retain_graph=True)
        flat = p.data.view(-1)
        values = []
        for step in (1e-6, -2e-6):
            flat[0] += step
            values.append(weighted_loss(net(y, A)).item())
        flat[0] += 1e-6
        numeric = (values[0] - values[1]) / 2e-6
        assert abs(numeric - float(slope.view(-1)[0])) < 1e-6 * max(1.0, abs(numeric))


def test_a_prior_cannot_act_and_nothing_is_promised():
    net = reconstructor(algorithm(), Unfolded(2), network_prior())
    assert all(n.startswith("algo.") for n, p in net.named_parameters() if p.requires_grad)
    with pytest.raises(ConfigError, match=r"cannot act: LearnedPrimalDual takes no prior"):
        reconstructor(algorithm(), Unfolded(2), network_prior(), learn=["prior.denoiser"])
    own = algorithm()
    assert not own.guarantee(problem(blur(4), Tikhonov())).holds
    assert not learned(reconstructor(algorithm(), Classical(max_iterations=2)))


def test_what_does_not_fit_is_refused_in_words():
    at = problem(blur(4), Tikhonov())
    wide = replace(algorithm(), dual=DualBlock(3))
    with pytest.raises(ShapeError, match=r"dual expects measurements of .batch, 3,.*channels=1"):
        wide.init(at)
    for call, words in (
        (lambda: PrimalBlock(memory=1), r"PrimalBlock.memory = 1: must be at least 2"),
        (lambda: DualBlock(depth=1), r"DualBlock.depth = 1: must be at least 2"),
    ):
        with pytest.raises(ConfigError, match=words):
            call()
