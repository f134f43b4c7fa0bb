"""Images in files of scans and arrays: `data=volumes`."""

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import Dataset

from unfold.data.batches import BLOCK, cut_to_multiple
from unfold.data.example import Example, Sample
from unfold.data.example_cache import Lazy
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
        key: the name of the array in .npz, .mat, .h5 and .zarr; None for the only one.
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

    depends = (
        *("key", "stack", "magnitude", "clip", "window"),
        *("channels", "multiple_of", "stated"),
    )

    @property
    def suffixes(self) -> tuple[str, ...]:  # type: ignore[override]
        """The files that are read."""
        return (*read_suffixes(), *self.dicom)

    measured = False

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
        return [self.read(path, place).kind for place in range(self._stack(path).count)]

    def read(self, path: Path, place: int) -> Example:
        stack = self._stack(path)
        stored, name = stack.read(place), f"{path}, image {place}"
        if self.magnitude and stored.kind.startswith("complex"):
            stored = stored._replace(values=abs(stored.values), kind="float64")
        values = to_unit(stored, self.stated, name, bounded=not self.clip)
        image = to_channels(values, self.channels)
        if not image.is_complex():
            image = (1 - image if stack.negative else image).clamp(0.0, 1.0)
        metadata = {"file": str(path), "slice": place, **stack.metadata}
        return Example(cut_to_multiple(image, self.multiple_of), metadata=metadata)

    def _stack(self, path: Path) -> Stack:
        names = ("channels", "key", "stack", "dicom", "window")
        layout = Layout(**{name: getattr(self, name) for name in names})
        # At most 1024 files are open: one that is read image by image may hold a map of memory.
        size = MEMORY // 1024
        return self.opened(path, lambda p: open_stack(p, layout), lambda s: max(s.size, size))

    def check(self, *, training: bool = True) -> None:
        super().check(training=training)
        files = dict.fromkeys(item.file for item in self.items("train" if training else "test"))
        stacks = {str(f.path): self._stack(Path(str(f.path))) for f in list(files)[:BLOCK]}
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

    def samples(self, items: Sequence[Item]) -> Dataset[Sample]:
        return self.crops(Lazy(lambda item: self.load(item).image, items))

    def typical(self) -> list[Examples]:
        first, *others = super().typical()
        assert first.images is not None
        cropped = Examples(first.images[..., : self.crop, : self.crop])
        return [cropped, *([first] if self.crop else []), *others]
