"""Trainings whose last bits are on record, for every platform where they were recorded.

`python -m tests.runs.golden` compares, `python -m tests.runs.golden --update` records this
platform. A change of bits is meant or it is a mistake: nothing else updates the records.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from unfold.cli.job import run_job
from unfold.config.build import verify
from unfold.config.compose import compose
from unfold.runs.provenance import machine
from unfold.training.checkpoints.weights import read_weights

RECORDS = Path(__file__).with_name("hashes.json")

THREADS = 1

SHARED = (
    "evaluation=none",
    "logger=none",
    "data.crop=16",
    "data.batch_size=2",
    "trainer.max_steps=2",
    "trainer.progress=false",
    "trainer.accelerator=cpu",
    f"trainer.threads={THREADS}",
)

SMALL = ("prior.weights=null", "prior.denoiser.depth=2", "prior.denoiser.width=4")

CONFIGURATIONS: Mapping[str, tuple[str, ...]] = {
    "unfolded pgd, a learned network, motion blur": (*SMALL, "model.iterations=2"),
    "unfolded admm, tied, total variation, inpainting": (
        "algo=admm",
        "prior=tv",
        "prior.tol=0.1",
        "physics=inpainting",
        "model.iterations=2",
    ),
    "equilibrium of pgd, a learned network, denoising": (
        *SMALL,
        "model=deq",
        "prior=nonexpansive",
        "model.max_iterations=8",
        "physics=denoising",
    ),
}


def platform() -> str:
    """What the bits may depend on in addition to the code."""
    found = machine()
    return f"torch {found['torch']}, {found['cpu']}, {found['capability']}, threads {THREADS}"


@contextmanager
def _as_before() -> Iterator[None]:
    threads, flag = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(flag)


def digest(name: str) -> str:
    """Train a configuration, and hash the names, shapes and bytes of its last weights."""
    with TemporaryDirectory() as folder, _as_before():
        arguments = [*SHARED, *CONFIGURATIONS[name], f"runs_dir={folder}"]
        (checked,) = verify(compose(arguments))
        weights = read_weights(run_job(checked).directory)
    content = hashlib.sha256()
    for key, tensor in sorted(weights.items()):
        content.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
        content.update(tensor.contiguous().numpy().tobytes())
    return content.hexdigest()


def records() -> dict[str, dict[str, str]]:
    """What is on record, by platform and configuration."""
    found: dict[str, dict[str, str]] = json.loads(RECORDS.read_text(encoding="utf-8"))
    return found
