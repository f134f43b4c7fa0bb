"""Training states with a flipped bit or a cut end: none is taken for whole."""

import random
from pathlib import Path

import torch

from tests.faults.training import Verdict
from unfold.errors import CheckpointError
from unfold.training.checkpoint import read_checkpoint, write_checkpoint
from unfold.training.seal import LAST, PREVIOUS, newest_state

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
    newest, found = folder / LAST, newest_state(folder)
    if found.path != folder / PREVIOUS or [path for path, _ in found.damaged] != [newest]:
        return False
    try:
        read_checkpoint(newest)
    except CheckpointError as error:
        return str(newest) in str(error)
    return False


def trial(folder: Path, seed: int) -> Verdict:
    """Every damaged state is found, named and skipped."""
    draw, newest = random.Random(seed), folder / LAST
    for step in range(2):
        state = {"global_step": step, "weights": torch.randn(20_000)}
        write_checkpoint(state, newest, keep=folder / PREVIOUS)
    content = newest.read_bytes()
    assert newest_state(folder).path == newest
    found = 0
    for _ in range(DAMAGES):
        newest.write_bytes(damaged(content, draw))
        found += is_skipped(folder)
    line = f"{found} of {DAMAGES} damaged checkpoints found, named and skipped"
    return Verdict(found == DAMAGES, line)
