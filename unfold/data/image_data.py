"""The images of a run, wherever they come from, and the batches that they make."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Literal

from unfold.data.batches import EvaluationBatches, Picture, TrainBatches, nothing_done
from unfold.data.crops import TrainCrops, WholeImages, cut_to_multiple
from unfold.data.loader import Loader
from unfold.data.store import ImageFile, Images, fingerprint, load_splits
from unfold.data.survey import Surveyed, survey
from unfold.errors import ConfigError, listing, nearest

SPLITS = ("train", "validation", "test")
"""The parts that images are divided into; no image is in two."""

POSITIVE = ("crop", "batch_size", "evaluation_batch_size", "crops_per_image", "multiple_of")


class ImageData(ABC):
    """Images to train on, to validate on and to test on; leaves say where they come from.

    An epoch is `crops_per_image` crops of every training image. Crops are square, mirrored and
    turned at random; validation and test images are whole, but for what exceeds a multiple of
    `multiple_of` pixels at the bottom and right.

    The arguments are explained at the leaves.

    Raises:
        ConfigError: a number is out of its range.
    """

    def __init__(
        self,
        seed: int,
        channels: Literal[1, 3],
        crop: int,
        batch_size: int,
        evaluation_batch_size: int,
        crops_per_image: int,
        multiple_of: int,
        workers: int,
    ) -> None:
        self.seed, self.channels, self.crop = seed, channels, crop
        self.batch_size, self.evaluation_batch_size = batch_size, evaluation_batch_size
        self.crops_per_image, self.multiple_of = crops_per_image, multiple_of
        self.workers = workers
        if channels not in (1, 3):
            raise ConfigError(f"channels = {channels}: must be 1 or 3.")
        for name in POSITIVE:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}: must be 1 or above.")
        if workers < 0:
            raise ConfigError(f"workers = {workers}: must be 0 or above.")

    @abstractmethod
    def files(self) -> dict[str, tuple[ImageFile, ...]]:
        """The files of each of `SPLITS`, in the order of their indices.

        Raises:
            DataError: there are none, or too few.
        """

    @cached_property
    def _loaded(self) -> dict[str, Images]:
        return load_splits(self.files(), self.channels, self._smallest)

    def _smallest(self, split: str) -> tuple[int, str]:
        if split == "train":
            return self.crop, "data.crop"
        return self.multiple_of, "data.multiple_of"

    def check(self) -> None:
        """Decode every image once, and keep what fits in 1 GiB.

        Raises:
            DataError: images are missing, corrupt, too small, or in two splits.
            ConfigError: an epoch does not fill a batch.
        """
        TrainBatches(self._samples, self.batch_size, self.seed)

    def survey(self, looked: Callable[[], None]) -> dict[str, Surveyed]:
        """Every fault of every image; `looked` is called after each.

        Raises:
            DataError: a folder is missing or empty.
        """
        return survey(self.files(), self.channels, self._smallest, looked)

    def fingerprint(self) -> str:
        """Sha256, in hexadecimal, of the names, sizes and bytes of the images of each split.

        It is the same wherever the images lie, and whatever the files' dates.

        Raises:
            DataError: as `check`.
        """
        return fingerprint(self._loaded)

    def shapes(self) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
        """The name and the shape of each image of each split, in order.

        Raises:
            DataError: as `check`.
        """
        splits = self._loaded.items()
        return {split: [(e.file.name, e.shape) for e in images.entries] for split, images in splits}

    def images(self, split: str) -> list[tuple[str, Picture]]:
        """The name and the (C, H, W) image in [0, 1] of each image of a split, in order.

        Training images are whole; others are cut to a multiple of `multiple_of`.

        Raises:
            ConfigError: no such split.
            DataError: as `check`.
        """
        if split not in SPLITS:
            raise ConfigError(
                f"split = {split}: unknown{nearest(split, SPLITS)} Available: {listing(SPLITS)}."
            )
        multiple = 1 if split == "train" else self.multiple_of
        images = self._loaded[split]
        names = (entry.file.name for entry in images.entries)
        return [(n, cut_to_multiple(x, multiple)) for n, x in zip(names, images, strict=True)]

    @property
    def _samples(self) -> int:
        return len(self._loaded["train"]) * self.crops_per_image

    def train_loader(
        self, rank: int = 0, processes: int = 1, done: Callable[[], int] = nothing_done
    ) -> Loader:
        """Batches of crops, of one process of several.

        Args:
            rank: of the process.
            processes: that share each batch.
            done: how many batches of the current epoch were seen before a resume.
        """
        images = self._loaded["train"]
        batches = TrainBatches(
            self._samples, self.batch_size, self.seed, rank, processes, done=done
        )
        return Loader(TrainCrops(images, self.seed, self.crop), batches, self.workers)

    def evaluation_loader(self, split: Literal["validation", "test"]) -> Loader:
        """Whole images; those of one shape share a batch."""
        images, multiple = self._loaded[split], self.multiple_of
        sizes = [tuple(s // multiple for s in e.shape[-2:]) for e in images.entries]
        batches = EvaluationBatches(sizes, self.evaluation_batch_size)
        return Loader(WholeImages(images, multiple), batches, self.workers)
