"""Files far larger than the memory are refused at once; small checks replace repeated hashing."""

import json
import os
import shutil
import time

import pytest
import torch

from tests.runs.made import make_run, sealed
from unfold.disk import with_checksum
from unfold.errors import CheckpointError, RunError, UnfoldError
from unfold.runs import files, identity, seal
from unfold.runs.catalogue import catalogue, read_reference
from unfold.runs.identity import digest_of, digests
from unfold.training.checkpoints.checksum import newest_checkpoint
from unfold.training.checkpoints.weights import (
    load_prior_weights,
    load_weights,
    read_checkpoint,
    read_weights,
)

SIZE = 30 * 10**9


def sparse(path, start=b""):
    """A file of 30 GB that takes no room on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(start)
        file.truncate(SIZE)
    return path


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine with 8 GB of free memory, on which nothing takes a second."""
    monkeypatch.setattr("unfold.arrays.free_memory", lambda: 8 * 10**9, raising=False)
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < 2


HEADER = (2).to_bytes(8, "little") + b"{}"


@pytest.mark.parametrize("start", [b"", HEADER])
@pytest.mark.parametrize("read", [read_weights, load_prior_weights, load_weights])
def test_sparse_weights_are_refused_at_once(tmp_path, read, start):
    path = sparse(tmp_path / "weights.safetensors", start)
    network = torch.nn.Conv2d(1, 1, 3)
    with pytest.raises(CheckpointError, match=f"{path}.*{SIZE} bytes"):
        read(path) if read is read_weights else read(network, path)


def test_a_sparse_state_is_refused_at_once(tmp_path):
    path = sparse(tmp_path / "run/checkpoints/last.ckpt")
    with pytest.raises(CheckpointError, match=f"last.ckpt.*{SIZE} bytes"):
        read_checkpoint(path)
    (path.parent / "previous.ckpt").write_bytes(with_checksum(b"PK\0\0"))
    found = newest_checkpoint(path.parent)
    assert found.path == path.with_name("previous.ckpt")
    assert f"{SIZE} bytes" in found.damaged[0][1]


@pytest.mark.parametrize("key", ["init_from", "prior.weights"])
def test_sparse_weights_get_no_name(tmp_path, key):
    path = sparse(tmp_path / "weights.safetensors")
    with pytest.raises(UnfoldError, match=f"{path}.*{SIZE} bytes"):
        digests({"runs_dir": str(tmp_path), key: str(path)})
    with pytest.raises(UnfoldError, match=f"{SIZE} bytes"):
        digest_of(str(path), tmp_path)


@pytest.mark.parametrize("name", ["weights.safetensors", "results.json", "checkpoints/best.ckpt"])
def test_a_sealed_file_that_grew_is_named_at_once(tmp_path, name):
    run = make_run(tmp_path, "pgd/1", scores={"psnr": 1.0})
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text("{}")
    sealed(run)
    sparse(run / name)
    with pytest.raises(RunError, match=f"{name} was changed"):
        read_reference(str(run))


def counted(monkeypatch, module):
    hashed = []

    def sha256(path):
        hashed.append(path.name)
        return files.sha256(path)

    monkeypatch.setattr(module, "sha256", sha256)
    return hashed


def test_a_list_hashes_no_file_that_is_as_old_and_as_large_as_when_it_was_sealed(
    tmp_path, monkeypatch
):
    run = make_run(tmp_path, "pgd/1", scores={"psnr": 1.0})
    for path in run.glob("*.*"):
        os.utime(path, ns=(10**18, 10**18))
    sealed(run)
    hashed = counted(monkeypatch, seal)
    assert [entry.state for entry in catalogue(tmp_path)] == ["finished"]
    assert not hashed
    read_reference(str(run))
    assert {"config.yaml", "results.json"} <= set(hashed)
    hashed.clear()
    (run / "results.json").write_text(json.dumps({"psnr": 99.0}))
    assert [entry.state for entry in catalogue(tmp_path)] == ["damaged"]
    shutil.copytree(run, tmp_path / "pgd/copies/1")


def test_a_copy_of_a_run_without_its_times_is_as_good(tmp_path):
    run = make_run(tmp_path / "one", "pgd/1", scores={"psnr": 1.0})
    shutil.copytree(run, tmp_path / "two/pgd/1", copy_function=shutil.copyfile)
    assert [entry.state for entry in catalogue(tmp_path / "two")] == ["finished"]


def test_a_run_sealed_without_sizes_is_read(tmp_path):
    run = make_run(tmp_path, "pgd/1", scores={"psnr": 1.0})
    manifest = files.read_json(run / "manifest.json")
    kept = {key: manifest[key] for key in ("owner", "files")}
    files.write_json(run / "manifest.json", kept)
    now = seal.status.read(run)
    seal.status.write(run, seal.replace(now, seal=seal._seal(run, now)))
    read_reference(str(run))
    assert [entry.state for entry in catalogue(tmp_path)] == ["finished"]


def test_a_trusted_package_is_hashed_once(tmp_path, monkeypatch):
    package = tmp_path / "trusted_once"
    package.mkdir()
    for name in ("__init__.py", "one.py", "table.csv"):
        (package / name).write_text("x = 1\n")
        os.utime(package / name, ns=(10**18, 10**18))
    monkeypatch.syspath_prepend(str(tmp_path))
    real, read = files.hashlib.file_digest, []
    monkeypatch.setattr(
        files.hashlib, "file_digest", lambda f, kind: read.append(f.name) or real(f, kind)
    )
    monkeypatch.setattr(time, "time_ns", lambda: 2 * 10**19)  # long after they were written
    first = identity.source_hashes(["trusted_once"])
    assert (
        first
        == identity.source_hashes(["trusted_once"])
        == identity.source_hashes(["trusted_once"])
    )
    assert len([name for name in read if "trusted_once" in name]) == 3
    (package / "one.py").write_text("x = 2\n")
    assert identity.differing(first, ["trusted_once"]) == ["trusted_once/one.py"]
