"""Image files, all decoded and checked once at start, and kept in memory where they fit."""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import NamedTuple, overload

from unfold.data.batches import Picture
from unfold.data.image_reader import decode, decode_with_facts, read_bytes
from unfold.data.intensity import Facts, Interval, doubts
from unfold.errors import DataError, DataWarning

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


class Pixels(NamedTuple):
    """How pixels are read: their channels, 1 or 3, and which stored values are 0 and 1."""

    channels: int
    stated: Interval | None = None


class DecodedFile(NamedTuple):
    """A file that was decoded.

    file: the file.
    size: in bytes.
    digest: SHA-256 of its bytes, in hexadecimal.
    content: SHA-256 of the shape and the intensities of the image in 16 bits.
    shape: (C, H, W) of the image.
    picture: the image, or None where memory is full.
    facts: what identifies a doubtful scale.
    """

    file: ImageFile
    size: int
    digest: str
    content: bytes
    shape: tuple[int, ...]
    picture: Picture | None
    facts: Facts


@dataclass(frozen=True, eq=False)
class Images(Sequence[Picture]):
    """The images of a split, from memory or else from their files.

    Args:
        entries: the files.
        pixels: how they are read.
    """

    entries: tuple[DecodedFile, ...]
    pixels: Pixels

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Picture]: ...
    def __getitem__(self, index: int | slice) -> Picture | Sequence[Picture]:
        if isinstance(index, slice):
            return Images(self.entries[index], self.pixels)
        entry = self.entries[index]
        if entry.picture is not None:
            return entry.picture
        data = read_bytes(entry.file.path)
        if hashlib.sha256(data).hexdigest() != entry.digest:
            raise DataError(f"{entry.file.path}: changed since the start. Start again.")
        return decode(data, str(entry.file.path), *self.pixels)

    @property
    def bytes_kept(self) -> int:
        """Bytes of the images in memory."""
        return sum(e.picture.nbytes for e in self.entries if e.picture is not None)


def decode_files(
    files: Iterable[ImageFile],
    pixels: Pixels,
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
            data = read_bytes(file.path)
            picture, facts = decode_with_facts(data, str(file.path), *pixels)
            if min(picture.shape[-2:]) < smallest:
                height, width = picture.shape[-2:]
                raise DataError(
                    f"{file.path}: {height}x{width} pixels, smaller than {why} = {smallest}. "
                    f"Lower {why}, or remove the file."
                )
            kept = picture.nbytes <= memory
            memory -= picture.nbytes if kept else 0
            digest, shape = hashlib.sha256(data).hexdigest(), tuple(picture.shape)
            own = hashlib.sha256(
                f"{shape}".encode() + (picture * 65535).round().int().numpy().tobytes()
            )
            one = DecodedFile(file, len(data), digest, own.digest(), shape, None, facts)
            usable.append(one._replace(picture=picture) if kept else one)
        except DataError as error:
            faults.append(str(error))
        progress()
    return usable, faults


def load(
    files: Iterable[ImageFile], pixels: Pixels, memory: int, smallest: int, why: str
) -> Images:
    """The images of some files; see `decode_files`.

    Raises:
        DataError: files cannot be read or are too small; lists up to ten.
    """
    usable, faults = decode_files(files, pixels, smallest, why, memory)
    if len(faults) == 1:
        raise DataError(faults[0])
    if faults:
        rest = len(faults) - MOST_LISTED
        more = [f"and {rest} more"] if rest > 0 else []
        lines = [f"{len(faults)} images cannot be used:", *faults[:MOST_LISTED], *more]
        raise DataError(*lines)
    return Images(tuple(usable), pixels)


Smallest = Callable[[str], tuple[int, str]]
"""From a split to the size its images need, and the argument that requires it."""


def load_splits(
    splits: dict[str, tuple[ImageFile, ...]], pixels: Pixels, smallest: Smallest
) -> dict[str, Images]:
    """Decode all splits, which share the memory in the order given.

    Raises:
        DataError: files cannot be used, or an image is in two splits.

    Warns:
        DataWarning: intensities or channels may not be meant as they are read.
    """
    loaded: dict[str, Images] = {}
    memory = MEMORY
    for split, files in splits.items():
        loaded[split] = load(files, pixels, memory, *smallest(split))
        memory -= loaded[split].bytes_kept
    for entry, other, split, first in shared({split: x.entries for split, x in loaded.items()}):
        raise DataError(
            f"{entry.file.path}: for {split}, and the same {_same(entry, other)} as "
            f"{other.file.path}, which is for {first}. Remove one of them."
        )
    for text in doubts((e.facts for x in loaded.values() for e in x.entries), *pixels):
        warnings.warn(text, DataWarning, stacklevel=2)
    return loaded


def _same(entry: DecodedFile, other: DecodedFile) -> str:
    return "file" if entry.digest == other.digest else "pixels"


def shared(
    splits: Mapping[str, Sequence[DecodedFile]],
) -> Iterator[tuple[DecodedFile, DecodedFile, str, str]]:
    """Each image that an earlier split holds, by its pixels; the equal one; and their splits."""
    known: dict[bytes, tuple[DecodedFile, str]] = {}
    for split in sorted(splits, key=lambda name: name != "train"):
        for entry in splits[split]:
            other, first = known.setdefault(entry.content, (entry, split))
            if first != split:
                yield entry, other, split, first


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
    notes: of the split to train on, what may not be meant in any split.
    """

    files: int
    sizes: tuple[tuple[tuple[int, int], int], ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def usable(self) -> int:
        """Files without a fault."""
        return self.files - len(self.faults)


def check_files(
    splits: Mapping[str, Sequence[ImageFile]],
    pixels: Pixels,
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
        entries[split], faults[split] = decode_files(files, pixels, *size, progress=progress)
    for entry, other, split, first in shared(entries):
        same = _same(entry, other)
        faults[split].append(
            f"{entry.file.path}: the same {same} as {other.file.path}, for {first}."
        )
    notes = doubts((one.facts for many in entries.values() for one in many), *pixels)
    return {
        split: SplitReport(
            len(files),
            _sizes(entries[split]),
            tuple(faults[split]),
            tuple(notes) if split == "train" else (),
        )
        for split, files in splits.items()
    }


def _sizes(entries: Sequence[DecodedFile]) -> tuple[tuple[tuple[int, int], int], ...]:
    return tuple(Counter((entry.shape[-2], entry.shape[-1]) for entry in entries).most_common())
