"""The averaged network: norms by power iteration, exact where it has converged, and resumable."""

import pytest
import torch

from tests.denoisers.test_denoisers import periodic_norm
from tests.engine import DOUBLE, difference, normal, uniform
from tests.proximal_properties import assert_firmly_nonexpansive
from unfold.denoisers.averaged import AveragedDnCNN, power_step
from unfold.denoisers.lipschitz import lipschitz
from unfold.denoisers.nonexpansive import periodic
from unfold.errors import ConfigError


def large(theta: float = 0.5, factor: float = 4.0) -> AveragedDnCNN:
    """With weights far above norm 1, and the power iteration converged on them."""
    torch.manual_seed(0)
    network = AveragedDnCNN(1, 3, 4, theta).double()
    with torch.no_grad():
        for layer in network.layers:
            layer.weight += 0.3 * torch.randn_like(layer.weight)
            layer.weight *= factor
            layer.bias += 0.3
    for _ in range(300):
        network.iterate()
    return network


def test_the_power_iteration_finds_the_norm_of_a_periodic_convolution():
    for shape in ((4, 1, 3, 3), (3, 3, 3, 3), (1, 5, 3, 3)):
        W = normal(*shape)
        v = power_step(W, normal(1, shape[1], 12, 12, seed=2), 2000)
        assert abs(float(periodic(v, W).norm()) / periodic_norm(W, 12) - 1) < 1e-3


@torch.no_grad()
def test_every_layer_has_norm_at_most_1_and_small_ones_are_left_as_they_are():
    network = large()
    for W, layer in zip(network.derived(), network.layers, strict=True):
        assert float(layer.weight.norm()) > float(W.norm())
        transfer = torch.fft.fft2(W, s=(60, 60)).permute(2, 3, 0, 1)
        assert 0.95 < float(torch.linalg.matrix_norm(transfer, 2).max()) <= 1 + 1e-6
    small = large(factor=1e-2)
    pairs = zip(small.derived(), small.layers, strict=True)
    assert all(torch.equal(W, layer.weight) for W, layer in pairs)


@torch.no_grad()
def test_it_is_firmly_nonexpansive_at_one_half_and_averaged_elsewhere():
    network = large()
    assert_firmly_nonexpansive(lambda v: network(v, 0.0), 1, 6, 7, dtype=DOUBLE)
    network = large(0.8)
    reflected = lipschitz(lambda v: (network(v, 0.0) - 0.2 * v) / 0.8, 1, network.layers[0].weight)
    assert reflected <= 1 + 1e-6
    v = uniform(1, 1, 16, 16)
    for _ in range(500):
        before, v = v, network(v, 0.0)
    assert difference(before, v) < 1e-3 * float(v.norm())


def test_training_moves_the_buffers_evaluation_does_not_and_they_are_saved():
    torch.manual_seed(0)
    network = AveragedDnCNN(1, 3, 4)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    network.eval().prepared()(torch.rand(1, 1, 5, 5), 0.1)
    with torch.no_grad():
        network.train().prepared()(torch.rand(1, 1, 5, 5), 0.1)
    network(torch.rand(1, 1, 5, 5), 0.1)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    network.prepared()(torch.rand(1, 1, 5, 5), 0.1).sum().backward()
    moved = [k for k, v in network.state_dict().items() if not torch.equal(before[k], v)]
    assert moved == ["v0", "v1", "v2"]
    torch.manual_seed(1)
    other = AveragedDnCNN(1, 3, 4)
    other.load_state_dict(network.state_dict())
    v = torch.rand(1, 1, 5, 5)
    for _ in range(3):
        assert torch.equal(network.prepared()(v, 0.1), other.prepared()(v, 0.1))


def test_one_reconstruction_is_one_map_and_one_step_of_the_power_iteration():
    network = AveragedDnCNN(1, 3, 4).train()
    one, v = network.prepared(), torch.rand(1, 1, 5, 5)
    after = network.get_buffer("v0").clone()
    assert torch.equal(one(v, 0.1), one(v, 0.1))
    assert torch.equal(network.get_buffer("v0"), after)
    one(v, 0.1).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_shares_without_meaning_are_refused():
    with pytest.raises(ConfigError, match=r"AveragedDnCNN\.theta = 1\.0: must be in \(0, 1\)"):
        AveragedDnCNN(1, theta=1.0)
