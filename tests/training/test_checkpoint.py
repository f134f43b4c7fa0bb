"""Weights on disk: complete files only, no code executed, mismatches explained."""

import os
import pickle

import pytest
import torch
from torch import nn

from unfold.denoisers.dncnn import DnCNN
from unfold.denoisers.nonexpansive import NonexpansiveResNet
from unfold.errors import CheckpointError
from unfold.training.checkpoints.callback import AtomicCheckpointIO
from unfold.training.checkpoints.weights import (
    embedded_weights,
    load_matching,
    load_prior_weights,
    load_weights,
    read_checkpoint,
    read_weights,
    save_weights,
    write_checkpoint,
)


class Attack:
    def __reduce__(self):
        return os.mkdir, ("attacked",)


def test_a_hostile_checkpoint_executes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, write in {
        "pickle": lambda path: path.write_bytes(pickle.dumps(Attack(), protocol=2)),
        "zip": lambda path: torch.save({"state_dict": Attack()}, path),
        "sealed": lambda path: write_checkpoint({"state_dict": Attack()}, path),
    }.items():
        path = tmp_path / f"{name}.ckpt"
        write(path)
        with pytest.raises(CheckpointError, match="not a readable checkpoint"):
            read_checkpoint(path)
    assert not (tmp_path / "attacked").exists()


def test_a_truncated_file_is_named(tmp_path):
    path = save_weights(DnCNN(1, 2, 4), tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: not a readable"):
        read_weights(tmp_path)


def test_a_failed_write_keeps_the_former_checkpoint(tmp_path):
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint({"x": torch.ones(2)}, path)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        io.save_checkpoint({"x": lambda: None}, path)
    assert torch.equal(torch.load(path, weights_only=True)["x"], torch.ones(2))
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_weights_of_another_model_are_refused_with_what_differs():
    with pytest.raises(CheckpointError, match=r"weight is \(3, 2\), \(4, 2\) expected"):
        load_matching(nn.Linear(2, 4), nn.Linear(2, 3).state_dict(), "there")
    with pytest.raises(CheckpointError, match=r"Missing: bias; unknown: none"):
        load_matching(nn.Linear(2, 4), {"weight": torch.ones(4, 2)}, "there")


@pytest.mark.parametrize(
    ("kind", "noise", "left_over"), [(DnCNN, 0.1, 0.2), (NonexpansiveResNet, 0.02, 0.75)]
)
def test_the_embedded_denoisers_remove_noise(kind, noise, left_over):
    network = kind(1)
    assert embedded_weights(kind(3)) is None and embedded_weights(nn.Linear(1, 1)) is None
    load_prior_weights(network, embedded_weights(network))
    generator = torch.Generator().manual_seed(0)
    wave = 0.5 + 0.4 * torch.linspace(0, 2 * torch.pi, 65)[:-1].cos()
    clean = wave[None, None, None].expand(1, 1, 64, 64)
    noisy = clean + noise * torch.randn(clean.shape, generator=generator)
    with torch.no_grad():
        left = (network(noisy, noise) - clean).square().mean()
    assert left < left_over * (noisy - clean).square().mean()


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_weights_keep_their_imaginary_part(dtype, tmp_path):
    net = torch.nn.Module()
    net.w = torch.nn.Parameter(torch.tensor([1 + 2j, -3.5j], dtype=dtype))
    save_weights(net, tmp_path)
    assert torch.equal(read_weights(tmp_path)["w"], net.w)
    net.w = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(CheckpointError, match=r"w is torch.complex\d+, torch.float32 expected"):
        load_weights(net, tmp_path)
