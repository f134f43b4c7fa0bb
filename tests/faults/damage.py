"""Training states and weights with a flipped bit or a cut end: none is taken for whole."""

import random
from collections.abc import Callable
from pathlib import Path

import torch

from tests.faults.training import Verdict
from unfold.denoisers.dncnn import DnCNN
from unfold.errors import CheckpointError
from unfold.training.checkpoints.checksum import LAST, PREVIOUS, newest_checkpoint
from unfold.training.checkpoints.weights import (
    read_checkpoint,
    read_weights,
    save_weights,
    write_checkpoint,
)

DAMAGES = 2_000


def damaged(content: bytes, draw: random.Random) -> bytes:
    """The content cut short, or with one bit flipped."""
    if draw.random() < 0.5:
        return content[: draw.randrange(len(content))]
    flipped = bytearray(content)
    flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(flipped)


def is_skipped(folder: Path) -> bool:
    """Whether the newest state is refused by name, and the one before it is taken."""
    newest, found = folder / LAST, newest_checkpoint(folder)
    if found.path != folder / PREVIOUS or [path for path, _ in found.damaged] != [newest]:
        return False
    try:
        read_checkpoint(newest)
    except CheckpointError as error:
        return str(newest) in str(error)
    return False


def is_refused(weights: Path) -> bool:
    """Whether weights are refused with the name of their file."""
    try:
        read_weights(weights)
    except CheckpointError as error:
        return str(weights) in str(error)
    return False


def trial(folder: Path, seed: int) -> Verdict:
    """Every damaged state is found, named and skipped; damaged weights are found and named."""
    draw, newest = random.Random(seed), folder / LAST
    for step in range(2):
        state = {"global_step": step, "weights": torch.randn(20_000)}
        write_checkpoint(state, newest, keep=folder / PREVIOUS)
    assert newest_checkpoint(folder).path == newest
    weights = save_weights(DnCNN(1, 3, 8), folder)
    assert not is_refused(weights)
    found = damages(newest, draw, lambda _: is_skipped(folder))
    refused = damages(weights, draw, is_refused)
    line = (
        f"{found} of {DAMAGES} damaged checkpoints found, named and skipped, {refused} of "
        f"{DAMAGES} damaged files of weights found and named"
    )
    return Verdict(found == refused == DAMAGES, line)


def damages(path: Path, draw: random.Random, is_found: Callable[[Path], bool]) -> int:
    """Of all damages to a file, each by itself, those that are found."""
    content, found = path.read_bytes(), 0
    for _ in range(DAMAGES):
        path.write_bytes(damaged(content, draw))
        found += is_found(path)
    path.write_bytes(content)
    return found
