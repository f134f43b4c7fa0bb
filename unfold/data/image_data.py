"""Where the images of a run come from: photographs that come with unfold, or a folder."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Literal

from unfold.data.batches import EvaluationBatches, Examined, Loader, TrainBatches, cut_to_multiple
from unfold.data.dataset import SplitReport, expect_split
from unfold.data.example import Example, Picture
from unfold.data.example_cache import Lazy
from unfold.data.file_facts import fingerprint
from unfold.data.files import embedded_files, folder_files, folder_left_out
from unfold.data.image_cache import ImageFile, Images, Pixels, check_files, load_splits
from unfold.data.image_options import ImageOptions
from unfold.errors import DataWarning
from unfold.parameters.bounds import bounded, inside, whole
from unfold.physics.base import Examples
from unfold.random import Draws

SIZES = 3
"""How many sizes of full images, the smallest, are tried before a run."""

MOST_SHOWN = 3
"""Files that are left out, in a warning."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageData(ImageOptions):
    """Images for training, validation and test; subclasses say where they come from.

    An epoch is `crops_per_image` crops of every training image. Crops are square, flipped and
    rotated at random; validation and test images are full, cropped at the bottom and right to
    multiples of `multiple_of` pixels.

    Args:
        crop: side of a training image, in pixels.
        crops_per_image: crops of each image in an epoch.
        shrink: a crop shows up to so many times its side of the image, made smaller: a factor in
            [1, shrink], log-uniform.
    """

    crop: int = bounded(64, whole(1), "in pixels")
    crops_per_image: int = bounded(25, whole(1), "in crops")
    shrink: float = bounded(1.0, inside("[1, 16]"), "times the side of a crop")

    @property
    def pixels(self) -> Pixels:
        """How files are read."""
        return Pixels(self.channels, self.stated)

    @cached_property
    def _loaded(self) -> dict[str, Images]:
        if others := self.left_out():
            first = ", ".join(others[:MOST_SHOWN]) + (", …" if len(others) > MOST_SHOWN else "")
            warnings.warn(f"{len(others)} files are left out: {first}.", DataWarning, stacklevel=2)
        return load_splits(self.files(), self.pixels, self._smallest)

    def _smallest(self, split: str) -> tuple[int, str]:
        name = "crop" if split == "train" else "multiple_of"
        return getattr(self, name), f"{type(self).__name__}.{name}"

    def check(self, *, training: bool = True) -> None:
        """Decodes every image once, and keeps what fits in 1 GiB."""
        self._expect_resources()
        TrainBatches(self._samples, self.batch_size, self.seed)

    def _expect_resources(self) -> None:
        order = 128 * self._samples  # of an epoch
        batch = 32 * self.batch_size * self.channels * self.crop**2
        self.expect_resources({"batch_size": batch, "crops_per_image": order})

    def check_files(self, progress: Callable[[], None]) -> dict[str, SplitReport]:
        return check_files(self.files(), self.pixels, self._smallest, progress)

    def fingerprint(self) -> str:
        return fingerprint(
            {s: [(e.file.name, e.size, e.digest) for e in x.items] for s, x in self._loaded.items()}
        )

    def shapes(self) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
        splits = self._loaded.items()
        return {split: [(e.file.name, e.shape) for e in images.items] for split, images in splits}

    def images(self, split: str) -> list[tuple[str, Picture]]:
        """The name and the (C, H, W) image in [0, 1] of each image of a split, in order.

        Training images are full; others are cropped to a multiple of `multiple_of`.

        Raises:
            ConfigError: no such split.
            DataError: as `check`.
        """
        expect_split(split)
        multiple = 1 if split == "train" else self.multiple_of
        images = self._loaded[split]
        names = (entry.file.name for entry in images.items)
        return [(n, cut_to_multiple(x, multiple)) for n, x in zip(names, images, strict=True)]

    def examples(self, split: str) -> Sequence[tuple[str, Example]]:
        return [(name, Example(image)) for name, image in self.images(split)]

    def content(self, split: str) -> str:
        """Of the decoded pixels."""
        found = (
            sha256(repr(tuple(x.shape)).encode() + x.numpy().tobytes())
            for _, x in self.images(split)
        )
        return sha256(b"".join(sorted(one.digest() for one in found))).hexdigest()

    def sketch(self, draws: Draws) -> Examples:
        return Examples(draws.uniform("image", (self.channels, self.crop, self.crop)))

    def typical(self) -> list[Examples]:
        """A crop, the first validation image, and one of each of the smallest sizes."""
        named = [*self.images("validation"), *self.images("test")]
        by_size = {image.shape: image[None] for _, image in reversed(named)}
        smallest = sorted(by_size.values(), key=lambda image: image.numel())[:SIZES]
        narrow = min(by_size.values(), key=lambda image: min(image.shape[-2:]))
        first = named[0][1][None]
        others = {x.shape: x for x in (*smallest, narrow) if x.shape != first.shape}
        crop = first[..., : self.crop, : self.crop]
        return [Examples(x) for x in (crop, first, *others.values())]

    @property
    def _samples(self) -> int:
        return len(self._loaded["train"]) * self.crops_per_image

    def train_loader(
        self, rank: int = 0, processes: int = 1, done: Callable[[], int] = lambda: 0
    ) -> Loader:
        self._expect_resources()
        images = self._loaded["train"]
        batches = TrainBatches(
            self._samples, self.batch_size, self.seed, rank, processes, done=done
        )
        crops = replace(self.crops(images), shrink=self.shrink)
        return Loader(crops, batches, self.workers)

    def evaluation_loader(self, split: Literal["validation", "test"]) -> Loader:
        self._expect_resources()
        images, multiple = self._loaded[split], self.multiple_of
        sizes = [tuple(s // multiple for s in e.shape[-2:]) for e in images.items]
        batches = EvaluationBatches(sizes, self.evaluation_batch_size)
        full = Lazy(lambda image: Example(cut_to_multiple(image, multiple)), images)
        return Loader(Examined(full), batches, self.workers)


@dataclass(frozen=True, eq=False)
class EmbeddedData(ImageData):
    """The photographs that come with unfold, grey or in colour: nothing is downloaded.

    In grey, eight of 256x256 pixels to train on, two of 128x128 to validate on and two to test on;
    in colour six, one and two. They are enough to compare methods, not to publish numbers. 25 crops
    per image make an epoch of 200 crops, 50 steps of 4.
    """

    crop: int = bounded(48, whole(1), "in pixels")
    batch_size: int = bounded(4, whole(1), "in images")

    def files(self) -> dict[str, tuple[ImageFile, ...]]:
        return embedded_files(colour=self.channels == 3)


@dataclass(frozen=True, eq=False, kw_only=True)
class FolderData(ImageData):
    """Images of a folder, with optional folders for validation and test.

    Without them, a tenth of `root`, at least 1 and at most 20 images, is held out for each, chosen
    by a hash of the file names.

    Args:
        root: a folder of PNG, JPEG, TIFF, BMP, GIF, WebP, PGM or PPM files, at any depth.
        validation_root: a folder of images to validate on; None to take them from `root`.
        test_root: a folder of images to test on; None to take them from `root`.
    """

    root: str
    validation_root: str | None = None
    test_root: str | None = None

    def files(self) -> dict[str, tuple[ImageFile, ...]]:
        return folder_files(self.root, self.validation_root, self.test_root)

    def left_out(self) -> tuple[str, ...]:
        return folder_left_out(self.root, self.validation_root, self.test_root)
