"""Every image of a data set looked at before anything is trained on it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from unfold.data.store import Entry, ImageFile, Smallest, shared, usable
from unfold.errors import DataError


class Surveyed(NamedTuple):
    """What the files of a split are.

    files: how many there are.
    sizes: how many images have each (height, width), the most frequent first.
    faults: of each file that cannot be used, its reason with its path.
    """

    files: int
    sizes: tuple[tuple[tuple[int, int], int], ...]
    faults: tuple[str, ...]

    @property
    def usable(self) -> int:
        """Files without a fault."""
        return self.files - len(self.faults)


def survey(
    splits: Mapping[str, Sequence[ImageFile]],
    channels: int,
    smallest: Smallest,
    looked: Callable[[], None],
) -> dict[str, Surveyed]:
    """Decode every file, and find all faults of all files; no image is kept.

    Args:
        splits: the files of each, `train` among them.
        channels: 1 or 3.
        smallest: the size that the images of a split need.
        looked: called after every file.
    """
    entries: dict[str, list[Entry]] = {}
    faults: dict[str, list[str]] = {}
    for split, files in splits.items():
        entries[split], faults[split] = [], []
        for file in files:
            try:
                entry = usable(file, channels, *smallest(split))
                entries[split].append(entry._replace(picture=None))
            except DataError as error:
                faults[split].append(str(error))
            looked()
    for entry, other, split in shared(entries):
        faults[split].append(f"{entry.file.path}: the same file as {other.file.path}, for train.")
    return {
        split: Surveyed(len(files), _sizes(entries[split]), tuple(faults[split]))
        for split, files in splits.items()
    }


def _sizes(entries: Sequence[Entry]) -> tuple[tuple[tuple[int, int], int], ...]:
    counted = Counter((entry.shape[-2], entry.shape[-1]) for entry in entries)
    return tuple(counted.most_common())
