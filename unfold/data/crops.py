"""The two data sets: random crops to train on, full images to evaluate on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.utils.data import Dataset

from unfold.data.batches import Key, Picture, Sample
from unfold.random import generator


class CropWindow(NamedTuple):
    """A crop: its corner in pixels, whether it is flipped, and its rotation in units of 90°."""

    top: int
    left: int
    flipped: bool
    turns: int


def random_window(seed: int, key: Key, height: int, width: int, crop: int) -> CropWindow:
    """The window of one virtual sample: a function of (seed, epoch, index) and the sizes."""
    epoch, index = key
    draw = generator(seed, "train", epoch, index, "crop")
    top, left = (int(draw.integers(0, size - crop, endpoint=True)) for size in (height, width))
    return CropWindow(top, left, flipped=bool(draw.integers(2)), turns=int(draw.integers(4)))


def cut(image: Picture, window: CropWindow, crop: int) -> Picture:
    """(C, crop, crop): the window of an image, flipped left to right, then rotated."""
    rows = slice(window.top, window.top + crop)
    columns = slice(window.left, window.left + crop)
    part = image[:, rows, columns]
    part = part.flip(-1) if window.flipped else part
    return torch.rot90(part, window.turns, (-2, -1)).contiguous()


def cut_to_multiple(image: Picture, multiple: int) -> Picture:
    """The image, cropped at the bottom and right to sides that are multiples of `multiple`."""
    height, width = ((size // multiple) * multiple for size in image.shape[-2:])
    return image[:, :height, :width].contiguous()


@dataclass(frozen=True, eq=False)
class TrainCrops(Dataset[Sample]):
    """Square random crops; virtual sample i is a crop of image i modulo the number of images.

    Args:
        images: to crop from, each at least `crop` pixels high and wide.
        seed: of the windows.
        crop: side of a crop, in pixels.
    """

    images: Sequence[Picture]
    seed: int
    crop: int

    def __getitem__(self, key: Key) -> Sample:
        image = self.images[key[1] % len(self.images)]
        height, width = image.shape[-2:]
        window = random_window(self.seed, key, height, width, self.crop)
        return Sample(cut(image, window, self.crop), key)


@dataclass(frozen=True, eq=False)
class FullImages(Dataset[Sample]):
    """Full images, cropped to sides that are multiples of `multiple_of` pixels.

    Args:
        images: at least `multiple_of` pixels high and wide.
        multiple_of: of both sides, in pixels.
    """

    images: Sequence[Picture]
    multiple_of: int

    def __getitem__(self, key: Key) -> Sample:
        return Sample(cut_to_multiple(self.images[key[1]], self.multiple_of), key)
