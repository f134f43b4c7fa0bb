"""Randomness that depends on (seed, split, epoch, image, name) and on nothing else.

Every draw has its own Philox counter, keyed by a 128-bit hash of all that identifies it. There is
no state to save, to restore or to share: batch size, shuffling, worker, rank and resume point
cannot change what an image gets.

Source: Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

SCHEME = 1
"""Raised when the same identity gives other numbers than before; every run writes it down."""


def generator(*identity: object) -> np.random.Generator:
    """A generator keyed by everything in `identity` (of any size: seeds keep all their bits)."""
    digest = hashlib.blake2b(repr(identity).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


@dataclass(frozen=True)
class Draws:
    """The random numbers of one batch: a pure function of who asks and what for.

    Two calls with the same name give the same numbers; two names are independent. A part that is
    handed its own scope cannot collide with another.

    Args:
        seed: of the run; any integer.
        images: the index of each image within its split; one per sample of the batch.
        split: `train`, `validation` or `test`.
        epoch: 0 for validation and test, whose draws never change.
        scope: who draws, from the outside inwards.
        dtype: of what is returned; complex where complex draws are wanted.
        device: where it is put; the numbers are made on the CPU and are the same everywhere.
    """

    seed: int
    images: Sequence[int]
    split: str = "train"
    epoch: int = 0
    scope: tuple[str, ...] = ()
    dtype: torch.dtype = torch.float32
    device: torch.device | str = "cpu"

    def __len__(self) -> int:
        return len(self.images)

    def within(self, name: str) -> "Draws":
        """The same images under an independent scope."""
        return replace(self, scope=(*self.scope, name))

    def like(self, x: Tensor) -> "Draws":
        """The same numbers in the real precision and on the device of `x`."""
        return replace(self, dtype=x.dtype.to_real(), device=x.device)

    def take(self, positions: Sequence[int]) -> "Draws":
        """The draws of some samples of the batch; each with its own numbers."""
        return replace(self, images=tuple(self.images[p] for p in positions))

    def each(self, name: str, draw: Callable[[np.random.Generator, int], Any]) -> Tensor:
        """Stack `draw(generator, position)` over the batch, one generator per image."""
        rows = [
            draw(generator(self.seed, self.split, self.epoch, i, self.scope, name), position)
            for position, i in enumerate(self.images)
        ]
        return torch.from_numpy(np.stack(rows)).to(device=self.device, dtype=self.dtype)

    def uniform(
        self, name: str, shape: Sequence[int], low: float = 0.0, high: float = 1.0
    ) -> Tensor:
        """(B, *shape), uniform on [low, high)."""
        return self.each(name, lambda g, _: g.uniform(low, high, tuple(shape)))

    def normal(self, name: str, shape: Sequence[int]) -> Tensor:
        """(B, *shape), of mean 0 and variance 1; a complex dtype shares it among its two parts."""
        if not self.dtype.is_complex:
            return self.each(name, lambda g, _: g.standard_normal(tuple(shape)))

        def both(g: np.random.Generator, _: int) -> np.ndarray:
            parts = g.standard_normal((2, *shape)) / np.sqrt(2.0)
            return np.asarray(parts[0] + 1j * parts[1])

        return self.each(name, both)
