"""Image files, all decoded and checked once at start, and kept in memory where they fit."""

import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from math import prod
from typing import NamedTuple

from unfold.data.batches import cut_to_multiple
from unfold.data.dataset import SplitReport
from unfold.data.example import Picture
from unfold.data.example_cache import Lazy
from unfold.data.image_reader import decode, decode_with_facts, read_bytes
from unfold.data.intensity import Facts, Interval, doubts
from unfold.errors import DataError, DataWarning, at_most

MEMORY = 2**30
"""Bytes of decoded images that are kept, of all splits together: 1 GiB."""


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
    content: SHA-256 of the shape and the intensities of the image, as it is tested, in 16 bits.
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
class Images(Lazy):
    """The images of a split, from memory or else from their files."""

    @classmethod
    def of(cls, entries: Sequence[DecodedFile], pixels: Pixels) -> "Images":
        """Files that were decoded, and how they are read."""

        def image(entry: DecodedFile) -> Picture:
            if entry.picture is not None:
                return entry.picture
            data = read_bytes(entry.file.path)
            if hashlib.sha256(data).hexdigest() != entry.digest:
                raise DataError(f"{entry.file.path}: changed since the start. Start again.")
            return decode(data, str(entry.file.path), *pixels)

        return cls(image, tuple(entries))


class Decoded(NamedTuple):
    """The files of a split that can be used, and what is wrong with the others."""

    usable: list[DecodedFile]
    faults: list[str]


Smallest = Callable[[str], tuple[int, str]]
"""From a split to the size its images need, and the argument that requires it."""


def decode_splits(
    splits: Mapping[str, Sequence[ImageFile]],
    pixels: Pixels,
    smallest: Smallest,
    memory: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Decoded]:
    """Decode every file; an image that an earlier split holds is a fault.

    `memory` is the number of bytes of images to keep, which the splits share in the order given;
    `progress` is called after every file.
    """
    found = {split: Decoded([], []) for split in splits}
    multiple, _ = smallest("test")  # to which images are cropped before they are compared
    for split, files in splits.items():
        for file in files:
            try:
                one = _decoded(file, pixels, *smallest(split), multiple)
            except DataError as error:
                found[split].faults.append(str(error))
            else:
                kept = (size := 4 * prod(one.shape)) <= memory
                memory -= size if kept else 0
                found[split].usable.append(one if kept else one._replace(picture=None))
            progress()
    known: dict[bytes, tuple[DecodedFile, str]] = {}  # by the pixels
    for split in sorted(found, key=lambda name: name != "train"):
        for entry in found[split].usable:
            other, first = known.setdefault(entry.content, (entry, split))
            if first == split:
                continue
            same = "file" if entry.digest == other.digest else "pixels"
            found[split].faults.append(
                f"{entry.file.path}: for {split}, and the same {same} as {other.file.path}, which "
                f"is for {first}. Remove one of them."
            )
    return found


def _decoded(
    file: ImageFile, pixels: Pixels, smallest: int, why: str, multiple: int
) -> DecodedFile:
    data = read_bytes(file.path)
    picture, facts = decode_with_facts(data, str(file.path), *pixels)
    if min(picture.shape[-2:]) < smallest:
        height, width = picture.shape[-2:]
        raise DataError(
            f"{file.path}: {height}x{width} pixels, smaller than the {smallest}x{smallest} "
            f"that {why} needs. Lower {why}, or remove the file."
        )
    digest, shape = hashlib.sha256(data).hexdigest(), tuple(picture.shape)
    used = cut_to_multiple(picture, multiple)
    content = f"{used.shape}".encode() + (used * 65535).round().int().numpy().tobytes()
    own = hashlib.sha256(content).digest()
    return DecodedFile(file, len(data), digest, own, shape, picture, facts)


def _notes(decoded: Mapping[str, Decoded], pixels: Pixels) -> list[str]:
    """What may not be meant as it is read, in any split."""
    return doubts((one.facts for split in decoded.values() for one in split.usable), *pixels)


def load_splits(
    splits: Mapping[str, Sequence[ImageFile]], pixels: Pixels, smallest: Smallest
) -> dict[str, Images]:
    """The images of all splits.

    Raises:
        DataError: files cannot be read or are too small, or an image is in two splits; lists up to
            ten.

    Warns:
        DataWarning: intensities or channels may not be meant as they are read.
    """
    decoded = decode_splits(splits, pixels, smallest, MEMORY)
    faults = [fault for split in decoded.values() for fault in split.faults]
    if len(faults) == 1:
        raise DataError(faults[0])
    if faults:
        raise DataError(f"{len(faults)} images cannot be used:", *at_most(faults))
    for text in _notes(decoded, pixels):
        warnings.warn(text, DataWarning, stacklevel=2)
    return {split: Images.of(found.usable, pixels) for split, found in decoded.items()}


def check_files(
    splits: Mapping[str, Sequence[ImageFile]],
    pixels: Pixels,
    smallest: Smallest,
    progress: Callable[[], None],
) -> dict[str, SplitReport]:
    """Decode every file, and collect the faults of all; no image is kept.

    `smallest` gives the size that the images of a split need; `train` is among the splits.
    """
    decoded = decode_splits(splits, pixels, smallest, progress=progress)
    notes = tuple(_notes(decoded, pixels))
    return {
        split: SplitReport(
            len(splits[split]),
            tuple(Counter((e.shape[-2], e.shape[-1]) for e in found.usable).most_common()),
            tuple(found.faults),
            notes if split == "train" else (),
        )
        for split, found in decoded.items()
    }
