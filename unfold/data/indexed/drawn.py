"""Images drawn by a formula: no file, and new ones in every epoch."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from unfold.data.example import SPLITS, Example, Key, Sample
from unfold.data.file_facts import FileFacts
from unfold.data.image_cache import ImageFile
from unfold.data.measured import Item, LazyData
from unfold.parameters.bounds import bounded, whole
from unfold.physics.base import Examples
from unfold.random import SCHEME, Draws, generator
from unfold.typing import Shape


@dataclass(frozen=True, eq=False)
class Keyed(Dataset[Sample]):
    """Samples that are a function of (epoch, index)."""

    example: Callable[[int, int], Example]

    def __getitem__(self, key: Key) -> Sample:
        return Sample(self.example(*key), key)


@dataclass(frozen=True, eq=False, kw_only=True)
class DrawnData(LazyData, ABC):
    """x = drawn(g), g a generator of (seed, epoch, index) in training, elsewhere of the index.

    So workers, batch size and resume change no image, and all seeds are compared on the same ones.

    Args:
        repeats: training images of an epoch.
        validation_images: to validate on.
        test_images: to test on.
    """

    repeats: int = bounded(1000, whole(1), "images of an epoch")
    batch_size: int = bounded(8, whole(1), "in images")
    evaluation_batch_size: int = bounded(8, whole(1), "in images")
    validation_images: int = bounded(8, whole(0), "in images")
    test_images: int = bounded(8, whole(0), "in images")

    @abstractmethod
    def drawn(self, g: np.random.Generator, split: str) -> np.ndarray:
        """One image (C, H, W)."""

    @abstractmethod
    def shape(self, split: str) -> Shape:
        """(C, H, W) of the images of a split."""

    def count(self, split: str) -> int:
        """How many images a split has; to train on one, which is drawn `repeats` times."""
        return 1 if split == "train" else int(getattr(self, f"{split}_images"))

    def picture(self, split: str, epoch: int, index: int) -> Example:
        """One image."""
        seed = self.seed if split == "train" else 0
        x = self.drawn(generator(type(self).__name__, seed, split, epoch, index), split)
        return Example(torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)))

    def files(self) -> dict[str, tuple[ImageFile, ...]]:
        """A name for the images of each split."""
        return {s: (ImageFile(s, Path(s)),) if self.count(s) else () for s in SPLITS}

    def examine(self, file: ImageFile, *, fresh: bool = False) -> FileFacts:
        path, count = Path(str(file.path)), self.count(file.name)
        if file.name == "train":  # has no end: its settings identify it
            loading = ("seed", "batch_size", "evaluation_batch_size", "repeats", "workers")
            own = {k: v for k, v in asdict(self).items() if k not in loading}
            content = repr((type(self).__name__, SCHEME, sorted(own.items()))).encode()
        else:
            content = b"".join(self.read(path, i).image.numpy().tobytes() for i in range(count))  # type: ignore[union-attr]
        digest = hashlib.sha256(content).hexdigest()
        return FileFacts(len(content), digest, tuple(self.kinds(path)), "")

    def kinds(self, path: Path) -> list[tuple[Any, ...]]:
        return [(("image", *self.shape(path.name)),)] * self.count(path.name)

    def read(self, path: Path, place: int) -> Example:
        return self.picture(path.name, 0, place)

    def where(self, split: str) -> str:
        return f"raise data.{split}_images"

    measured = False

    def samples(self, items: Sequence[Item]) -> Dataset[Sample]:
        return Keyed(lambda epoch, index: self.picture("train", epoch, index))

    def sketch(self, draws: Draws) -> Examples:
        return Examples(draws.uniform("image", self.shape("train")))


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """The image (C, H, W), convolved with a Gaussian of standard deviation σ; edges repeat."""
    half = int(np.ceil(3 * sigma))
    if not half:
        return image
    weights = np.exp(-0.5 * (np.arange(-half, half + 1) / max(sigma, 1e-6)) ** 2)
    weights /= weights.sum()
    for axis in (1, 2):
        pad = [(half, half) if a == axis else (0, 0) for a in range(3)]
        wide, n = np.pad(image, pad, "edge"), image.shape[axis]
        image = sum(w * wide.take(range(i, i + n), axis) for i, w in enumerate(weights))
    return image
