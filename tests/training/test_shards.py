"""The parts of a batch side by side: the bits of one part after another, and of processes."""

import threading

import pytest
import torch
from torch import nn

from unfold.data.example import Batch
from unfold.physics.base import Examples
from unfold.training.shards import Shards, add_gradients


def network(*extra):
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), *extra, nn.Conv2d(8, 1, 3, padding=1)]
    return nn.Sequential(*layers)


def batch():
    images = torch.rand(4, 1, 24, 24, generator=torch.Generator().manual_seed(1))
    return Batch(Examples(images), torch.arange(4), 0)


def compute(net, seen=None):
    """A loss that uses the weights twice; `seen` is told of every beginning and end."""

    def of(part):
        if seen is not None:
            seen.append("begin")
        loss = (net(net(part.images)) - part.images).square().mean()
        if seen is not None:
            seen.append("end")
        return None, loss

    return of


def gradients(net, shards, seen=None):
    net.zero_grad()
    add_gradients(net, shards.run(compute(net, seen), batch(), net, 0.5))
    return [p.grad.clone() for p in net.parameters()]


def one_after_another(net):
    """On one thread, as two processes on two CPUs have them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    net.zero_grad()
    for part in batch().split(2):
        (compute(net)(part)[1] / 2).backward()
    torch.set_num_threads(threads)
    return [p.grad.clone() for p in net.parameters()]


@pytest.fixture
def shards(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    shards = Shards(2)
    yield shards
    shards.close()


def test_parallel_and_sequential_parts_are_bit_identical(shards):
    net = network()
    expected = one_after_another(net)
    for _ in range(5):
        assert all(map(torch.equal, gradients(net, shards), expected))
    assert any(g.abs().max() > 0 for g in expected)


def test_parts_are_parallel_after_the_first_batch(shards):
    """Each waits for the other inside the second batch: they would wait for ever in a row."""
    net, meeting = network(), threading.Barrier(2, timeout=20)
    gradients(net, shards)

    def meet(part):
        meeting.wait()
        return compute(net)(part)

    assert len(shards.run(meet, batch(), net, 0.5)) == 2


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm2d(8)], ids=["draws", "buffers"])
def test_stateful_networks_are_computed_sequentially(shards, layer):
    net, seen = network(layer), []
    for _ in range(3):
        gradients(net, shards, seen)
    assert seen == ["begin", "end"] * 6


def test_errors_of_a_part_are_raised(shards):
    def fail(part):
        raise ValueError(f"part of {len(part.images)}")

    with pytest.raises(ValueError, match="part of 2"):
        shards.run(fail, batch(), network(), 0.5)


def test_a_weight_without_a_gradient_keeps_none(shards):
    """So that the audit of the first step finds it."""
    net = network()
    net.unused = nn.Parameter(torch.ones(3))
    compute_without = compute(nn.Sequential(*list(net)[:3]))
    add_gradients(net, shards.run(compute_without, batch(), net, 0.5))
    assert net.unused.grad is None and net[0].weight.grad is not None
