"""Ten checkpoints and twenty other files and paths of strangers: none executes, none escapes."""

import io
import json
import os
import pickle
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch

from tests.config.folder import refusal
from unfold.data.image_reader import read_image
from unfold.errors import CheckpointError, ConfigError, DataError, UnfoldError
from unfold.evaluation.single_image import read_measurement
from unfold.physics.blur.kernel_files import read_kernels
from unfold.physics.custom.matrix import MatrixPhysics
from unfold.physics.noise.base import NoNoise
from unfold.runs.catalogue import read_reference
from unfold.runs.identity import slug
from unfold.training.checkpoints.checksum import with_checksum
from unfold.training.checkpoints.weights import read_checkpoint, read_weights


class Attack:
    """Whoever unpickles it makes the folder `executed`."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def packed(**members):
    """A zip file, as torch writes one."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


def saved(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def old_format(value):
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


PICKLE = pickle.dumps(Attack(), protocol=2)
STATES = {
    "a pickle": PICKLE,
    "a pickle of protocol 4": pickle.dumps({"state_dict": Attack()}, protocol=4),
    "torch's format": saved({"state_dict": Attack()}),
    "torch's old format": old_format({"state_dict": Attack()}),
    "under a good seal": with_checksum(saved({"state_dict": {"w": Attack()}})),
    "a zip": packed(archive__data_pkl=PICKLE, archive__version="3"),
    "a zip of data.pkl": packed(**{"archive__data.pkl": PICKLE, "archive__version": "3"}),
    "settings of Lightning": saved(
        {"hyper_parameters": {"_class_path": "os.mkdir"}, "x": Attack()}
    ),
}


@pytest.mark.parametrize("content", STATES.values(), ids=STATES.keys())
def test_a_state_executes_nothing(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "last.ckpt")
    assert not (tmp_path / "executed").exists()


WEIGHTS = {
    "a pickle": PICKLE,
    "a header that claims a terabyte": struct.pack("<Q", 2**40) + b"{}",
}


@pytest.mark.parametrize("content", WEIGHTS.values(), ids=WEIGHTS.keys())
def test_weights_execute_nothing(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        read_weights(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_there_are_ten_checkpoints():
    assert len(STATES) + len(WEIGHTS) == 10


def png(width, height):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")


def bmp(width, height):
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 1078, 0, 0, 1078) + head + bytes(1024)


def tiff(width, height):
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (279, 1)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def array(shape, kind="<f8", body=b""):
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    text = head.ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + body


def objects():
    file = io.BytesIO()
    np.save(file, np.array([Attack()], dtype=object), allow_pickle=True)
    return file.getvalue()


ZEROS = packed(**{"k.npy": array((20000, 1000), body=bytes(160_000_000))})
FILES = {
    "image.png": (png(100_000, 100_000), lambda p: read_image(p, 1)),
    "wide.png": (png(2**30, 1), lambda p: read_image(p, 1)),
    "image.bmp": (bmp(60_000, 60_000), lambda p: read_image(p, 1)),
    "image.tif": (tiff(60_000, 60_000), lambda p: read_image(p, 1)),
    "kernel.png": (png(20_000, 20_000), lambda p: read_kernels(str(p))),
    "large.png": (png(3001, 3001), lambda p: read_kernels(str(p))),
    "objects.npy": (objects(), lambda p: read_kernels(str(p))),
    "claims.npy": (array((10**6, 10**6)), lambda p: read_kernels(str(p))),
    "bomb.npz": (ZEROS, lambda p: read_kernels(str(p))),
    "objects.npz": (packed(**{"k.npy": objects()}), lambda p: read_kernels(str(p))),
    "matrix.npz": (ZEROS, lambda p: MatrixPhysics(NoNoise(), str(p), (1, 1, 1000))),
    "matrix.npy": (objects(), lambda p: MatrixPhysics(NoNoise(), str(p), (1, 1, 1))),
    "measured.npy": (array((1, 10**6, 10**6)), lambda p: read_measurement(p, 1)),
    "pickled.npy": (objects(), lambda p: read_measurement(p, 1)),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_neither_fills_the_memory_nor_executes(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, read = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        read(tmp_path / name)
    assert not (tmp_path / "executed").exists()


NAMES = ["../../evil", "/tmp/evil", "..", "a/b", "x" * 81]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_stays_inside_the_folder_of_runs(name):
    assert f"name = {name}: must be 1 to 80 letters" in refusal(f"name={json.dumps(name)}")
    parts = {"algo": name, "prior": name, "physics": name, "model": "unfolded"}
    assert "/" not in slug(parts, None)
    assert not slug(parts, None).startswith(".")


def test_a_run_of_a_stranger_is_read_as_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs/a/b"
    run.mkdir(parents=True)
    (run / "status.json").write_text('{"state": "finished"}')
    (run / "config.yaml").write_text("!!python/object/apply:os.mkdir [executed]\n")
    (run / "overrides.yaml").write_text("[]\n")
    with pytest.raises(UnfoldError) as error:
        read_reference("a/b")
    assert not isinstance(error.value, ConfigError)
    assert not (tmp_path / "executed").exists()


def test_there_are_twenty_files_and_paths():
    assert len(FILES) + len(NAMES) + 1 == 20
