"""Masks over the Fourier plane: what a scanner acquires; drawn, given, or of a file."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from unfold.array_files import read_array
from unfold.errors import DataError, ShapeError
from unfold.parameters.bounds import Declared
from unfold.random import Draws


@dataclass(frozen=True)
class Masks(Declared, ABC):
    """A distribution of masks over the Fourier plane."""

    @property
    @abstractmethod
    def is_deterministic(self) -> bool:
        """Whether every sample is the same mask."""

    @abstractmethod
    def sample(self, draws: Draws, height: int, width: int) -> Tensor:
        """(B, 1, H or 1, W), or (1, …) if deterministic: zeros and ones, frequency 0 at index 0."""


@dataclass(frozen=True, eq=False)
class FixedMasks(Masks):
    """Masks that are given.

    Args:
        values: m, (B or 1, 1, H or 1, W), frequency 0 at index 0.
        drawn: of which only what `values` also measure is taken; None takes all of them.
    """

    values: Tensor
    drawn: Masks | None = None

    @property
    def is_deterministic(self) -> bool:
        return len(self.values) == 1 and (self.drawn is None or self.drawn.is_deterministic)

    def sample(self, draws: Draws, height: int, width: int) -> Tensor:
        values = self.values
        if values.shape[1:] not in {(1, h, width) for h in (1, height)}:
            raise ShapeError(
                f"a mask of {tuple(values.shape[2:])} for frequencies of {height} x {width}; "
                "expected (height, width), or (width,) of columns."
            )
        if not bool((values != 0).flatten(1).any(1).all()):
            raise DataError("a mask is 0 everywhere: nothing would be measured.")
        values = values.to(draws.device, draws.dtype, non_blocking=True)
        return values if self.drawn is None else values * self.drawn.sample(draws, height, width)


@dataclass(frozen=True)
class MaskFile(Masks):
    """The mask of a file: (height, width), or (width,) of columns.

    Args:
        path: of an .npy, .npz or .mat file of one array; not 0 where a frequency is acquired.
        centred: whether frequency 0 is in the middle, as people draw masks; else it is at index 0.
    """

    path: str
    centred: bool = True

    is_deterministic = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.values  # noqa: B018 - a bad file is found at once

    @cached_property
    def values(self) -> Tensor:
        """(1, 1, H or 1, W), of zeros and ones, frequency 0 at index 0."""
        found = np.atleast_2d(np.squeeze(read_array(self.path, "MaskFile.path")) != 0)
        if found.ndim != 2:
            raise DataError(f"{self.path}: {found.shape}; a mask is (height, width), or (width,).")
        whole = np.fft.ifftshift(found, axes=[a for a in (0, 1) if found.shape[a] > 1])
        return torch.from_numpy((whole if self.centred else found).astype("f4"))[None, None]

    def sample(self, draws: Draws, height: int, width: int) -> Tensor:
        return FixedMasks(self.values).sample(draws, height, width)


def masks_of(named: Masks | str) -> Masks:
    """The distribution that a physics names: a file's where it is a path."""
    return MaskFile(named) if isinstance(named, str) else named
