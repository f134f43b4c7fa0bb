"""Images in files of scans and arrays: `data=volumes`."""

import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from unfold.data.batches import BLOCK, Loader, cut_to_multiple
from unfold.data.example import Example, Picture
from unfold.data.example_cache import Cache
from unfold.data.files import folder_files
from unfold.data.image_cache import ImageFile
from unfold.data.image_options import ImageOptions
from unfold.data.intensity import doubts, facts, to_channels, to_unit
from unfold.data.measured import MEMORY, Item, MeasuredData
from unfold.data.readers.images import Layout, Stack, open_stack, read_suffixes
from unfold.errors import DataError, DataWarning
from unfold.parameters.bounds import bounded, whole
from unfold.physics.base import Examples


@dataclass(frozen=True, eq=False, kw_only=True)
class VolumeData(ImageOptions, MeasuredData):
    """Images of volumes, stacks and arrays, of which measurements are simulated.

    Images are cropped to multiples of `multiple_of` pixels, in training further to `crop`. Those of
    one file are in one split.

    Args:
        multiple_of: of the sides of images, in pixels.
        key: the name of the array in .npz, .mat and .h5 files; None for the only one.
        stack: the axis along which the images of an array of one channel lie, as the program that
            wrote it counts: 0 for (S, H, W), −1 for (H, W, S).
        magnitude: whether complex images are read as their magnitudes.
        clip: whether values outside `intensity_range` become 0 and 1; else they are errors.
        dicom: suffixes of DICOM files; "" for files without one.
        window: whether intensities are those of the window that a DICOM file states.
        split_by: what stays in one split, a `file`, or a `folder` at the top of `root`: of a
            patient. None for folders where there are DICOM files, else files.
    """

    batch_size: int = bounded(1, whole(1), "in images")
    evaluation_batch_size: int = bounded(1, whole(1), "in images")
    multiple_of: int = bounded(1, whole(1), "in pixels")
    key: str | None = None
    stack: int = 0
    magnitude: bool = False
    clip: bool = False
    dicom: Sequence[str] = (".dcm",)
    window: bool = False
    split_by: Literal["file", "folder"] | None = None

    @property
    def suffixes(self) -> tuple[str, ...]:  # type: ignore[override]
        """The files that are read."""
        return (*read_suffixes(), *self.dicom)

    @property
    def measured(self) -> bool:
        return False

    def settings(self) -> Mapping[str, Any]:
        names = ("key", "stack", "magnitude", "clip", "window", "channels", "multiple_of")
        return {n: getattr(self, n) for n in names} | {"range": self.stated}

    def files(self) -> dict[str, tuple[ImageFile, ...]]:
        roots = (self.root, self.validation_root, self.test_root)

        def found(by: str) -> dict[str, tuple[ImageFile, ...]]:
            return folder_files(*roots, self.suffixes, folders=by == "folder")

        if self.split_by is not None or self.root is None:
            return found(self.split_by or "file")
        every = folder_files(self.root, self.root, self.root, self.suffixes)["test"]
        slices = any(Path(file.name).suffix.lower() in self.dicom for file in every)
        try:
            return found("folder" if slices else "file")
        except DataError as error:
            raise DataError(f"{error} Or data.split_by=file.") from error

    def kinds(self, path: Path) -> list[tuple[Any, ...]]:
        return [self.read(path, place).kind for place in range(self._opened(path).count)]

    def read(self, path: Path, place: int) -> Example:
        stack = self._opened(path)
        stored, name = stack.read(place), f"{path}, image {place}"
        if self.magnitude and stored.kind.startswith("complex"):
            stored = stored._replace(values=abs(stored.values), kind="float64")
        values = to_unit(stored, self.stated, name, bounded=not self.clip)
        image = to_channels(values, self.channels)
        if not image.is_complex():
            image = (1 - image if stack.negative else image).clamp(0.0, 1.0)
        metadata = {"file": str(path), "slice": place, **stack.metadata}
        return Example(cut_to_multiple(image, self.multiple_of), metadata=metadata)

    def _opened(self, path: Path) -> Stack:
        found = self._stacks.get(path)
        if found is None:
            names = ("channels", "key", "stack", "dicom", "window")
            found = open_stack(path, Layout(**{name: getattr(self, name) for name in names}))
            self._stacks.put(path, found, max(found.size, MEMORY // 1024))
        return found

    @cached_property
    def _stacks(self) -> Cache[Stack]:
        """The files that were opened last, so that one is decoded once for all of its images."""
        return Cache(MEMORY)

    def check(self, *, training: bool = True) -> None:
        super().check(training=training)
        files = dict.fromkeys(item.file for item in self.items("train" if training else "test"))
        stacks = {str(f.path): self._opened(Path(str(f.path))) for f in list(files)[:BLOCK]}
        stored = {name: stack.read(stack.count // 2) for name, stack in stacks.items()}
        found = [facts(one, name, one.values.shape[-1]) for name, one in stored.items()]
        for text in doubts(found, self.channels, self.stated):
            warnings.warn(text, DataWarning, stacklevel=2)

    def places(self) -> list[tuple[str, Hashable]]:
        """With a crop, all images have one shape."""
        found = super().places()
        if self.crop is None:
            return found
        for item in self.items("train"):
            if min(item.kind[0][-2:]) < self.crop:
                height, width = item.kind[0][-2:]
                raise DataError(
                    f"{item.file.path}: {height}x{width} pixels, smaller than data.crop = "
                    f"{self.crop}. Lower it, or set data.crop=null."
                )
        return [(name, self.crop) for name, _ in found]

    def train_loader(
        self, rank: int = 0, processes: int = 1, done: Callable[[], int] = lambda: 0
    ) -> Loader:
        self._expect_resources()
        batches = self._train_batches(rank, processes, done)
        return Loader(self.crops(_Pictures(self, self.items("train"))), batches, self.workers)

    def typical(self) -> list[Examples]:
        first, *others = super().typical()
        assert first.images is not None
        cropped = Examples(first.images[..., : self.crop, : self.crop])
        return [cropped, *([first] if self.crop else []), *others]


@dataclass(frozen=True, eq=False)
class _Pictures(Sequence[Picture]):
    data: VolumeData
    items: Sequence[Item]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        return self.data.load(self.items[index]).image
