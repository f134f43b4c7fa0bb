"""Image files, all decoded and checked once at start, and kept in memory where they fit."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import NamedTuple, overload

from unfold.data.batches import Picture
from unfold.data.image_reader import decode
from unfold.errors import DataError

MEMORY = 2**30
"""Bytes of decoded images that are kept, of all splits together: 1 GiB."""

MOST_LISTED = 10
"""The most unusable files that a message lists."""


class ImageFile(NamedTuple):
    """A file of one image.

    name: relative to its folder, the same on every machine.
    path: of the file.
    """

    name: str
    path: Traversable


class DecodedFile(NamedTuple):
    """A file that was decoded.

    file: the file.
    size: in bytes.
    digest: SHA-256 of its bytes, in hexadecimal.
    shape: (C, H, W) of the image.
    picture: the image, or None where memory is full.
    """

    file: ImageFile
    size: int
    digest: str
    shape: tuple[int, ...]
    picture: Picture | None


@dataclass(frozen=True, eq=False)
class Images(Sequence[Picture]):
    """The images of a split, from memory or else from their files.

    Args:
        entries: the files.
        channels: 1 or 3.
    """

    entries: tuple[DecodedFile, ...]
    channels: int

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Picture]: ...
    def __getitem__(self, index: int | slice) -> Picture | Sequence[Picture]:
        if isinstance(index, slice):
            return Images(self.entries[index], self.channels)
        entry = self.entries[index]
        if entry.picture is not None:
            return entry.picture
        return decode(_read(entry.file), str(entry.file.path), self.channels)

    @property
    def bytes_kept(self) -> int:
        """Bytes of the images in memory."""
        return sum(e.picture.nbytes for e in self.entries if e.picture is not None)


def decode_files(
    files: Iterable[ImageFile],
    channels: int,
    smallest: int,
    why: str,
    memory: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> tuple[list[DecodedFile], list[str]]:
    """Decode every file; the usable ones, and the faults of the others.

    `why` is the argument that requires height and width of `smallest` pixels, for the message.
    `memory` is the number of bytes of images to keep; `progress` is called after every file.
    """
    usable: list[DecodedFile] = []
    faults: list[str] = []
    for file in files:
        try:
            data = _read(file)
            picture = decode(data, str(file.path), channels)
            if min(picture.shape[-2:]) < smallest:
                height, width = picture.shape[-2:]
                raise DataError(
                    f"{file.path}: {height}x{width} pixels, smaller than {why} = {smallest}. "
                    f"Lower {why}, or remove the file."
                )
            kept = picture.nbytes <= memory
            memory -= picture.nbytes if kept else 0
            digest, shape = hashlib.sha256(data).hexdigest(), tuple(picture.shape)
            usable.append(DecodedFile(file, len(data), digest, shape, picture if kept else None))
        except DataError as error:
            faults.append(str(error))
        progress()
    return usable, faults


def load(files: Iterable[ImageFile], channels: int, memory: int, smallest: int, why: str) -> Images:
    """The images of some files; see `decode_files`.

    Raises:
        DataError: files cannot be read or are too small; lists up to ten.
    """
    usable, faults = decode_files(files, channels, smallest, why, memory)
    if len(faults) == 1:
        raise DataError(faults[0])
    if faults:
        rest = len(faults) - MOST_LISTED
        more = [f"and {rest} more"] if rest > 0 else []
        lines = [f"{len(faults)} images cannot be used:", *faults[:MOST_LISTED], *more]
        raise DataError("\n  ".join(lines))
    return Images(tuple(usable), channels)


def _read(file: ImageFile) -> bytes:
    try:
        return file.path.read_bytes()
    except OSError as error:
        raise DataError(f"{file.path}: cannot be read ({error.strerror}).") from error


Smallest = Callable[[str], tuple[int, str]]
"""From a split to the size its images need, and the argument that requires it."""


def load_splits(
    splits: dict[str, tuple[ImageFile, ...]], channels: int, smallest: Smallest
) -> dict[str, Images]:
    """Decode all splits, which share the memory in the order given.

    Raises:
        DataError: files cannot be used, or one that is trained on is in another split as well.
    """
    loaded: dict[str, Images] = {}
    memory = MEMORY
    for split, files in splits.items():
        loaded[split] = load(files, channels, memory, *smallest(split))
        memory -= loaded[split].bytes_kept
    for entry, other, split in shared({split: x.entries for split, x in loaded.items()}):
        raise DataError(
            f"{entry.file.path}: for {split}, and the same file as {other.file.path}, which is "
            "trained on. Remove one of them."
        )
    return loaded


def shared(
    splits: Mapping[str, Sequence[DecodedFile]],
) -> Iterator[tuple[DecodedFile, DecodedFile, str]]:
    """Each file of another split that is trained on, the one it equals, and the split."""
    trained = {entry.digest: entry for entry in splits["train"]}
    for split in sorted(splits.keys() - {"train"}):
        for entry in splits[split]:
            if entry.digest in trained:
                yield entry, trained[entry.digest], split


def fingerprint(splits: Mapping[str, Images]) -> str:
    """SHA-256, in hexadecimal, of the names, sizes and bytes of the files of each split."""
    content = {
        split: sorted((e.file.name, e.size, e.digest) for e in images.entries)
        for split, images in splits.items()
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class SplitReport(NamedTuple):
    """The files of a split.

    files: how many there are.
    sizes: (height, width) and the number of images, the most frequent first.
    faults: the path and the reason of each file that cannot be used.
    """

    files: int
    sizes: tuple[tuple[tuple[int, int], int], ...]
    faults: tuple[str, ...]

    @property
    def usable(self) -> int:
        """Files without a fault."""
        return self.files - len(self.faults)


def check_files(
    splits: Mapping[str, Sequence[ImageFile]],
    channels: int,
    smallest: Smallest,
    progress: Callable[[], None],
) -> dict[str, SplitReport]:
    """Decode every file, and collect the faults of all; no image is kept.

    `smallest` gives the size that the images of a split need; `train` is among the splits.
    """
    entries: dict[str, list[DecodedFile]] = {}
    faults: dict[str, list[str]] = {}
    for split, files in splits.items():
        size = smallest(split)
        entries[split], faults[split] = decode_files(files, channels, *size, progress=progress)
    for entry, other, split in shared(entries):
        faults[split].append(f"{entry.file.path}: the same file as {other.file.path}, for train.")
    return {
        split: SplitReport(len(files), _sizes(entries[split]), tuple(faults[split]))
        for split, files in splits.items()
    }


def _sizes(entries: Sequence[DecodedFile]) -> tuple[tuple[tuple[int, int], int], ...]:
    counted = Counter((entry.shape[-2], entry.shape[-1]) for entry in entries)
    return tuple(counted.most_common())
