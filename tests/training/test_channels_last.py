"""The layout of networks in memory changes no network, and none is refused it."""

import pytest
import torch
from torch import nn

from tests.shipped import build, files
from tests.training.small import run, small_training
from unfold.denoisers.dncnn import DnCNN
from unfold.denoisers.nonexpansive import NonexpansiveResNet
from unfold.models.deq import DEQ
from unfold.training.fit import keep_channels_last

NETWORKS = {
    name: prior.denoiser
    for name, prior in ((name, build(path)) for name, path in files("prior").items())
    if hasattr(prior, "denoiser")
} | {"nonexpansive": NonexpansiveResNet(1, 3, 4)}


@pytest.mark.parametrize("name", NETWORKS)
def test_channels_last_does_not_change_a_network(name):
    network, x = NETWORKS[name].double(), torch.rand(2, 1, 8, 8, dtype=torch.float64)
    before = network(x, 0.1)
    keep_channels_last(network)
    assert torch.allclose(network(x, 0.1), before, rtol=1e-12, atol=1e-14)


def test_convolutions_are_channels_last():
    network = DnCNN(1, 3, 4)
    keep_channels_last(network)
    inner = network.noise[2]
    assert isinstance(inner, nn.Conv2d)
    assert inner.weight.is_contiguous(memory_format=torch.channels_last)
    assert not inner.weight.is_contiguous()


def test_an_equilibrium_trains_channels_last(tmp_path):
    training = small_training(model=DEQ(accuracy=1e-5, max_iterations=400))
    run(tmp_path, steps=1, training=training, channels_last=True)
