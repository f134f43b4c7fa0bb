"""Measured data: files of examples, read when they are asked for, with a bounded cache."""

import hashlib
import json
import warnings
from abc import abstractmethod
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unfold.data.batches import EvaluationBatches, FileBatches, Loader
from unfold.data.dataset import Data, SplitReport, expect_split
from unfold.data.example import SPLITS, Example, Key, Sample, stack
from unfold.data.file_facts import FileFacts, facts_of
from unfold.data.files import folder_files
from unfold.data.image_cache import ImageFile
from unfold.errors import DataError, DataWarning, listing
from unfold.parameters.bounds import bounded, whole
from unfold.physics.base import Examples
from unfold.random import Draws
from unfold.typing import Shape

KINDS = 3
"""How many kinds of examples besides the first are tried before a run."""

MEMORY = 2**30
"""Bytes of decoded examples that are kept: 1 GiB."""

MOST_LISTED = 10
"""The most faulty files that a message lists."""


class Item(NamedTuple):
    """One example of a file.

    file: the file.
    place: of the example in it.
    kind: what is known of it, with shapes: those of one kind share a batch.
    """

    file: ImageFile
    place: int
    kind: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The file, and the place where it has several."""
        return f"{self.file.name}#{self.place}"


@dataclass(frozen=True, eq=False, kw_only=True)
class MeasuredData(Data):
    """Examples that an instrument measured; subclasses say how a file is read.

    Splits hold whole files, so that slices of one scan are never in two of them. An epoch has
    every training example `repeats` times, each with its own draws; files are shuffled in blocks.

    Args:
        root: a folder of files, at any depth, or one file; None where nothing is trained on.
        validation_root: those to validate on; None to hold files of `root` out.
        test_root: those to test on; None to hold files of `root` out.
        repeats: how often each example is in an epoch.
        skip_faulty: whether a file that cannot be used is left out, with a warning that names it;
            else it is an error.
    """

    batch_size: int = bounded(1, whole(1), "in images")
    evaluation_batch_size: int = bounded(1, whole(1), "in images")
    root: str | None = None
    validation_root: str | None = None
    test_root: str | None = None
    repeats: int = bounded(1, whole(1), "in times")
    skip_faulty: bool = False

    suffixes: ClassVar[tuple[str, ...]]
    """The files that are read."""

    reference: ClassVar[str]
    """What the images are, where there are some."""

    @abstractmethod
    def kinds(self, path: Path) -> list[tuple[Any, ...]]:
        """`Example.kind` of each example of a file, in order; reads as little as it can.

        Raises:
            DataError: says what is wrong with the file.
        """

    @abstractmethod
    def read(self, path: Path, place: int) -> Example:
        """One example, in the scale of images in [0, 1]; a `DataError` as of `kinds`."""

    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """What `kinds` depends on besides the file."""

    def files(self) -> dict[str, tuple[ImageFile, ...]]:
        return folder_files(self.root, self.validation_root, self.test_root, self.suffixes)

    @cached_property
    def _facts(self) -> dict[str, list[tuple[ImageFile, FileFacts]]]:
        """The usable files of each split; what is in two splits, or in none, is a fault."""
        faults: list[str] = []
        found: dict[str, list[tuple[ImageFile, FileFacts]]] = {split: [] for split in SPLITS}
        seen: dict[str, tuple[str, str]] = {}
        for split, files in self.files().items():
            for file in files:
                facts = self._examined(file)
                other, first = seen.setdefault(facts.digest, (file.name, split))
                if facts.fault:
                    faults.append(facts.fault)
                elif first != split:
                    faults.append(
                        f"{file.path}: for {split}, and the same file as {other}, which is for "
                        f"{first}. Remove one of them."
                    )
                else:
                    found[split].append((file, facts))
        if faults and not self.skip_faulty:
            more = [f"and {len(faults) - MOST_LISTED} more"] if len(faults) > MOST_LISTED else []
            head = f"{len(faults)} files cannot be used (data.skip_faulty=true leaves them out):"
            raise DataError(head, *faults[:MOST_LISTED], *more)
        if faults:
            shown = "; ".join(faults[:MOST_LISTED])
            warnings.warn(f"{len(faults)} files are left out: {shown}", DataWarning, stacklevel=2)
        return found

    def _examined(self, file: ImageFile) -> FileFacts:
        path = Path(str(file.path))
        return facts_of(path, lambda: self.kinds(path), self.settings())

    def items(self, split: str) -> list[Item]:
        """Every example of a split, in order; a `DataError` where there is none."""
        expect_split(split)
        if not (found := self._items[split]):
            name = type(self).__name__
            own = "" if split == "train" else f", or {name}.{split}_root"
            kinds = listing(self.suffixes)
            raise DataError(f"no file for {split}; give {name}.root, a folder of {kinds}{own}.")
        return found

    @cached_property
    def _items(self) -> dict[str, list[Item]]:
        return {
            split: [
                Item(file, place, kind) for file, facts in used for place, kind in facts.numbered
            ]
            for split, used in self._facts.items()
        }

    def check(self, *, training: bool = True) -> None:
        for split in SPLITS if training else ("test",):
            self.load(self.items(split)[0])
        if training:
            self._expect_resources()
            self._train_batches(0, 1, lambda: 0)

    def _expect_resources(self) -> None:
        self.expect_resources({"repeats": 16 * len(self.items("train")) * self.repeats})

    def check_files(self, progress: Callable[[], None]) -> dict[str, SplitReport]:
        reports = {}
        for split, files in self.files().items():
            faults: list[str] = []
            sizes: Counter[tuple[int, ...]] = Counter()
            for file in files:
                path = Path(str(file.path))
                try:
                    kinds = self.kinds(path)
                    for place, kind in enumerate(kinds):
                        self.read(path, place)
                        sizes[tuple(kind[0][1:])] += 1
                except DataError as error:
                    faults.append(str(error))
                progress()
            reports[split] = SplitReport(len(files), tuple(sizes.most_common()), tuple(faults))
        return reports

    def fingerprint(self) -> str:
        content = {
            split: sorted((file.name, facts.size, facts.digest) for file, facts in used)
            for split, used in self._facts.items()
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def shapes(self) -> dict[str, list[tuple[str, Shape]]]:
        return {
            split: [(item.name, tuple(item.kind[0][1:])) for item in items]
            for split, items in self._items.items()
        }

    def examples(self, split: str) -> Sequence[tuple[str, Example]]:
        items = self._items[split] if split == "validation" else self.items(split)
        return _Named(self, items)

    def content(self, split: str) -> str:
        """Of the bytes of the files."""
        digests = sorted(facts.digest for _, facts in self._facts[split])
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def sketch(self, draws: Draws) -> Examples:
        return self.typical()[0]

    def typical(self) -> list[Examples]:
        """The first example of each kind, of training first."""
        first = {
            item.kind: item for split in reversed(SPLITS) for item in reversed(self._items[split])
        }
        ordered = sorted(first.values(), key=lambda one: one.kind != self._first.kind)
        return [stack([self.load(item)]) for item in ordered[: 1 + KINDS]]

    @property
    def _first(self) -> Item:
        found = next((items[0] for items in self._items.values() if items), None)
        return found or self.items("train")[0]

    @property
    def truth(self) -> str:
        known = [any("image" in part for part in item.kind) for item in self._every]
        return self.reference if known and all(known) else ""

    @property
    def measured(self) -> bool:
        return True

    @property
    def _every(self) -> list[Item]:
        return [item for items in self._items.values() for item in items]

    def load(self, item: Item) -> Example:
        """The example, from the cache or from its file."""
        key = str(item.file.path), item.place
        cached = self._cache.get(key)
        if cached is None:
            cached = self.read(Path(key[0]), item.place)
            if cached.kind != item.kind:
                raise DataError(f"{key[0]}: changed since the start. Start again.")
            self._cache.put(key, cached)
        return cached

    @cached_property
    def _cache(self) -> "Cache":
        return Cache(MEMORY)

    def train_loader(
        self, rank: int = 0, processes: int = 1, done: Callable[[], int] = lambda: 0
    ) -> Loader:
        self._expect_resources()
        batches = self._train_batches(rank, processes, done)
        return Loader(Examined(self, self.items("train")), batches, self.workers)

    def _train_batches(self, rank: int, processes: int, done: Callable[[], int]) -> FileBatches:
        share = {"rank": rank, "ranks": processes, "done": done}
        places = [(item.file.name, item.kind) for item in self.items("train")]
        return FileBatches(places, self.repeats, self.batch_size, self.seed, **share)

    def evaluation_loader(self, split: Literal["validation", "test"]) -> Loader:
        self._expect_resources()
        items = self.items(split)
        batches = EvaluationBatches([item.kind for item in items], self.evaluation_batch_size)
        return Loader(Examined(self, items), batches, self.workers)


class Cache:
    """Examples by key; those that were used longest ago are dropped."""

    def __init__(self, size: int) -> None:
        self.free = size
        self.held: OrderedDict[Any, Example] = OrderedDict()

    def get(self, key: Any) -> Example | None:
        """The example, which becomes the last to be dropped."""
        if key in self.held:
            self.held.move_to_end(key)
        return self.held.get(key)

    def put(self, key: Any, example: Example) -> None:
        """Keep an example, if it is smaller than the cache."""
        self.held[key] = example
        self.free -= _bytes(example)
        while self.free < 0:
            self.free += _bytes(self.held.popitem(last=False)[1])


def _bytes(example: Example) -> int:
    held = (example.image, example.measurement, *example.parameters.values())
    return sum(t.nbytes for t in held if t is not None)


@dataclass(frozen=True, eq=False)
class Examined(Dataset[Sample]):
    """The examples of a split as samples; sample i is example i modulo their number."""

    data: MeasuredData
    items: Sequence[Item]

    def __getitem__(self, key: Key) -> Sample:
        return Sample(self.data.load(self.items[key[1] % len(self.items)]), key)


@dataclass(frozen=True, eq=False)
class _Named(Sequence[tuple[str, Example]]):
    data: MeasuredData
    items: Sequence[Item]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return _Named(self.data, self.items[index])
        item = self.items[index]
        return item.name, self.data.load(item)


def scaled(example: Example, size: float) -> Example:
    """The example divided by its size, which its metadata keep as `scale`.

    Raises:
        DataError: the size is 0 or not finite: there is nothing to scale.
    """
    if not 0 < size < float("inf"):
        raise DataError(f"the size of an example is {size}: it is empty, or not finite.")

    def divided(t: Tensor | None) -> Tensor | None:
        return None if t is None else t / size

    image, measurement = divided(example.image), divided(example.measurement)
    metadata = {**example.metadata, "scale": size}
    return example._replace(image=image, measurement=measurement, metadata=metadata)


def size_of(image: Tensor, normalize: float | str) -> float:
    """What an image is divided by: a number, or `max` or `percentile` (99 %) of its magnitude."""
    if not isinstance(normalize, str):
        return float(normalize)
    magnitude = image.abs()
    if normalize == "none":
        return 1.0
    if normalize == "percentile":
        return float(torch.quantile(magnitude.flatten()[: 2**24], 0.99))
    return float(magnitude.max())
