"""Checks of all images of a data set: `unfold check data=…`."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from unfold.data.image_cache import DecodedFile, ImageFile, Smallest, decode_files, shared


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

    Args:
        splits: the files of each, `train` among them.
        channels: 1 or 3.
        smallest: the size that the images of a split need.
        progress: called after every file.
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
