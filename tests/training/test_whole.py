"""Weights, gradients and moments in pieces are those in one: here in the pieces of one process."""

import copy

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from unfold.training.whole import (
    clip_gradients,
    gradient_norm,
    optimizer_state,
    put_optimizer_state,
    put_weights,
    weights_of,
)


@pytest.fixture
def mesh():
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        yield init_device_mesh("cpu", (1,))
    finally:
        distributed.destroy_process_group()


class Net(nn.Module):
    """A network, and a scalar beside it."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
        self.layer = nn.Linear(3, 2, dtype=torch.float64)

    def forward(self, x):
        return self.scale * self.layer(x)


def pair(mesh):
    """A network and its copy in pieces, with gradients."""
    torch.manual_seed(0)
    plain = Net()
    cut = copy.deepcopy(plain)
    fully_shard(cut.layer, mesh=mesh)
    assert isinstance(cut.layer.weight, DTensor) and not isinstance(cut.scale, DTensor)
    x = torch.randn(4, 3, dtype=torch.float64)
    for net in (plain, cut):
        net(x).square().sum().backward()
    return plain, cut


def equal(one, other):
    assert one.keys() == other.keys()
    return all(type(t) is torch.Tensor and torch.equal(t, other[n]) for n, t in one.items())


def test_gradients_are_clipped_as_pytorch_clips_whole_ones(mesh):
    plain, cut = pair(mesh)
    total = nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
    assert torch.allclose(gradient_norm(cut), total, rtol=1e-12)
    clip_gradients(cut, 0.5)
    for p, q in zip(plain.parameters(), cut.parameters(), strict=True):
        whole = q.grad.full_tensor() if isinstance(q.grad, DTensor) else q.grad
        assert torch.allclose(p.grad, whole, rtol=1e-12)
    before = gradient_norm(cut)
    clip_gradients(cut, 10.0)
    assert torch.equal(gradient_norm(cut), before), "a norm below the limit stays"


def test_states_go_there_and_back(mesh):
    plain, cut = pair(mesh)
    optimizers = [torch.optim.AdamW(net.parameters(), lr=0.1) for net in (plain, cut)]
    for optimizer in optimizers:
        optimizer.step()
    assert equal(weights_of(plain), weights_of(cut))
    states = [optimizer_state(optimizer) for optimizer in optimizers]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    for key, moments in states[0]["state"].items():
        assert equal(moments, states[1]["state"][key])
    _, other = pair(mesh)
    again = torch.optim.AdamW(other.parameters(), lr=0.5)
    put_weights(other, weights_of(plain))
    put_optimizer_state(again, states[0])
    assert isinstance(again.state[other.layer.weight]["exp_avg"], DTensor)
    for net, optimizer in ((cut, optimizers[1]), (other, again)):
        optimizer.zero_grad()
        net(torch.ones(1, 3, dtype=torch.float64)).sum().backward()
        optimizer.step()
    assert equal(weights_of(cut), weights_of(other))
