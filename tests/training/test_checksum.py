"""What is damaged is found, what is written is full, and a full disk costs nothing."""

import errno
import random
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from unfold.disk import DiskFullError
from unfold.errors import CheckpointError
from unfold.training.checkpoints.callback import AtomicCheckpointIO
from unfold.training.checkpoints.checksum import LAST, PREVIOUS, damage, newest_checkpoint
from unfold.training.checkpoints.weights import (
    read_checkpoint,
    read_weights,
    save_weights,
    write_checkpoint,
)


def write(folder, value, name=LAST):
    path = folder / name
    write_checkpoint({"x": torch.full((100,), value)}, path)
    return path


def test_a_checkpoint_with_checksum_is_an_ordinary_archive(tmp_path):
    path = write(tmp_path, 2.0)
    assert torch.equal(torch.load(path, weights_only=True)["x"], torch.full((100,), 2.0))
    assert torch.equal(read_checkpoint(path)["x"], torch.full((100,), 2.0))
    assert zipfile.ZipFile(path).testzip() is None


def test_every_truncation_and_every_flipped_bit_is_found(tmp_path):
    content = write(tmp_path, 1.0).read_bytes()
    assert damage(content) is None
    assert damage(content + b"\0") is not None
    for end in range(len(content)):
        assert damage(content[:end]) is not None
    draw = random.Random(0)
    for position in [
        *range(len(content) - 80, len(content)),
        *draw.choices(range(len(content)), k=300),
    ]:
        flipped = bytearray(content)
        flipped[position] ^= 1 << draw.randrange(8)
        assert damage(bytes(flipped)) is not None, position


def test_damaged_weights_are_refused_with_the_reason(tmp_path):
    path = write(tmp_path, 1.0)
    content = bytearray(path.read_bytes())
    at = content.find(torch.full((100,), 1.0).numpy().tobytes())
    assert at > 0
    content[at + 3] ^= 64
    path.write_bytes(bytes(content))
    assert float(torch.load(path, weights_only=True)["x"][0]) != 1.0, "PyTorch itself is silent"
    with pytest.raises(CheckpointError, match=r"last\.ckpt.*its checksum differs"):
        read_checkpoint(path)


def test_the_newest_intact_checkpoint_is_found(tmp_path):
    assert newest_checkpoint(tmp_path) == (None, ())
    write(tmp_path, 1.0, PREVIOUS)
    assert newest_checkpoint(tmp_path).path == tmp_path / PREVIOUS
    last = write(tmp_path, 2.0)
    assert newest_checkpoint(tmp_path) == (last, ())
    last.write_bytes(last.read_bytes()[:-1])
    found = newest_checkpoint(tmp_path)
    assert found.path == tmp_path / PREVIOUS
    assert found.damaged == ((last, "it is cut short, or was not written by unfold"),)


@pytest.mark.parametrize("fails", ["os.fsync", "shutil.disk_usage"])
def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path, monkeypatch, fails):
    path, writer = tmp_path / LAST, AtomicCheckpointIO()
    writer.save_checkpoint({"x": torch.ones(2)}, path)
    writer.save_checkpoint({"x": torch.ones(2) * 2}, path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fails, full)
    monkeypatch.setattr("unfold.disk.SPARE", 0)
    with pytest.raises(DiskFullError, match="No space left on device") as caught:
        writer.save_checkpoint({"x": torch.ones(2) * 3}, path)
    assert caught.value.exit_code == 6
    assert float(read_checkpoint(path)["x"][0]) == 2
    assert float(read_checkpoint(tmp_path / PREVIOUS)["x"][0]) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [LAST, PREVIOUS]


def sealed(folder):
    return save_weights(nn.Linear(3, 2), folder)


def test_weights_with_checksum_are_an_ordinary_safetensors_file(tmp_path):
    path = sealed(tmp_path)
    assert read_weights(path).keys() == load_file(path).keys() == {"weight", "bias"}


def test_every_flipped_bit_of_weights_is_found_and_the_file_named(tmp_path):
    path = sealed(tmp_path)
    content = path.read_bytes()
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 7
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError, match=r"weights\.safetensors: (damaged since|not a)"):
            read_weights(path)


def test_weights_from_elsewhere_have_no_checksum_and_are_read(tmp_path):
    path = tmp_path / "theirs.safetensors"
    save_file({"x": torch.ones(3)}, path, {"format": "pt"})
    assert torch.equal(read_weights(path)["x"], torch.ones(3))
