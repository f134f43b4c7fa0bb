"""Examples that are read when they are asked for, with a bounded cache: files of measurements."""

import hashlib
import warnings
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

from torch.utils.data import Dataset

from unfold.data.batches import EvaluationBatches, Examined, FileBatches, Loader
from unfold.data.dataset import Data, SplitReport, expect_split
from unfold.data.example import SPLITS, Example, Sample, stack
from unfold.data.example_cache import Cache, Lazy, size_in_memory
from unfold.data.file_facts import FileFacts, facts_of, fingerprint, readable
from unfold.data.files import folder_files, folder_left_out
from unfold.data.image_cache import ImageFile
from unfold.errors import DataError, DataWarning, at_most, listing
from unfold.parameters.bounds import bounded, whole
from unfold.physics.base import Examples
from unfold.random import Draws
from unfold.typing import Shape

T = TypeVar("T")

KINDS = 3
"""How many kinds of examples besides the first are tried before a run."""

MEMORY = 2**30
"""Bytes of decoded examples that are kept: 1 GiB."""


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
class LazyData(Data):
    """Examples that are read when they are asked for; subclasses say from what.

    Splits hold whole files, so that slices of one scan are never in two of them. An epoch has
    every training example `repeats` times, each with its own draws; files are shuffled in blocks.

    Args:
        repeats: how often each example is in an epoch.
        skip_faulty: whether a file that cannot be used is left out, with a warning that names it;
            else it is an error.
    """

    batch_size: int = bounded(1, whole(1), "in images")
    evaluation_batch_size: int = bounded(1, whole(1), "in images")
    repeats: int = bounded(1, whole(1), "in times")
    skip_faulty: bool = False

    reference: ClassVar[str] = "image"
    """What the images are, where there are some."""

    depends: ClassVar[tuple[str, ...]] = ()
    """The arguments on which `kinds` depends, besides the file."""

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
    def where(self, split: str) -> str:
        """What to give for the examples of a split, for the message."""

    def _survey(self, *, fresh: bool = False) -> Iterator[tuple[str, ImageFile, FileFacts]]:
        """Every file with its split; what is in two splits is a fault. `fresh` as of `examine`."""
        seen: dict[str, tuple[str, str]] = {}
        for split, files in self.files().items():
            for file in files:
                facts = self.examine(file, fresh=fresh)
                other, first = seen.setdefault(facts.digest, (file.name, split))
                if first != split and not facts.fault:
                    same = (
                        f"{file.path}: for {split}, and the same file as {other}, which is for "
                        f"{first}. Remove one of them."
                    )
                    facts = facts._replace(fault=same)
                yield split, file, facts

    @cached_property
    def _facts(self) -> dict[str, list[tuple[ImageFile, FileFacts]]]:
        """The usable files of each split."""
        faults: list[str] = []
        found: dict[str, list[tuple[ImageFile, FileFacts]]] = {split: [] for split in SPLITS}
        for split, file, facts in self._survey():
            if facts.fault:
                faults.append(facts.fault)
            else:
                found[split].append((file, facts))
        if faults and not self.skip_faulty:
            head = f"{len(faults)} files cannot be used (data.skip_faulty=true leaves them out):"
            raise DataError(head, *at_most(faults))
        if faults:
            shown = "; ".join(at_most(faults))
            warnings.warn(f"{len(faults)} files are left out: {shown}", DataWarning, stacklevel=2)
        return found

    def examine(self, file: ImageFile, *, fresh: bool = False) -> FileFacts:
        """The facts of a file; `fresh`: read again, whatever is known."""
        path = Path(str(file.path))
        own = {name: getattr(self, name) for name in self.depends}
        settings = {"data": type(self).__name__, **own}
        return facts_of(path, lambda: readable(path, lambda: self.kinds(path)), settings, fresh)

    def items(self, split: str) -> list[Item]:
        """Every example of a split, in order; a `DataError` where there is none."""
        expect_split(split)
        if not (found := self._items[split]):
            raise DataError(f"no file for {split}; {self.where(split)}.")
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
        faults: dict[str, list[str]] = {split: [] for split in SPLITS}
        sizes: dict[str, Counter[tuple[int, ...]]] = {split: Counter() for split in SPLITS}
        counts: Counter[str] = Counter()
        for split, file, facts in self._survey(fresh=True):
            counts[split] += 1
            try:
                if facts.fault:
                    raise DataError(facts.fault)
                for place, kind in facts.numbered:
                    self.load(Item(file, place, kind))
                    sizes[split][tuple(kind[0][1:])] += 1
            except DataError as error:
                faults[split].append(str(error))
            progress()
        return {
            split: SplitReport(counts[split], tuple(sizes[split].most_common()), tuple(one))
            for split, one in faults.items()
        }

    def fingerprint(self) -> str:
        found = self._facts.items()
        return fingerprint({s: [(one.name, f.size, f.digest) for one, f in x] for s, x in found})

    def shapes(self) -> dict[str, list[tuple[str, Shape]]]:
        return {
            split: [(item.name, tuple(item.kind[0][1:])) for item in items]
            for split, items in self._items.items()
        }

    def examples(self, split: str) -> Sequence[tuple[str, Example]]:
        items = self._items[split] if split == "validation" else self.items(split)
        return Lazy(lambda item: (item.name, self.load(item)), items)

    def content(self, split: str) -> str:
        """Of the bytes of the files."""
        digests = sorted(facts.digest for _, facts in self._facts[split])
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def sketch(self, draws: Draws) -> Examples:
        return self.typical()[0]

    def typical(self) -> list[Examples]:
        """The first example of each kind, of training first."""
        first: dict[Hashable, Item] = {}
        for item in self.every or self.items("train"):  # which says what to give
            first.setdefault(item.kind, item)
        return [stack([self.load(item)]) for item in list(first.values())[: 1 + KINDS]]

    @property
    def truth(self) -> str:
        known = [any("image" in part for part in item.kind) for item in self.every]
        return self.reference if known and all(known) else ""

    measured = True

    @property
    def every(self) -> list[Item]:
        """The items of all splits."""
        return [item for items in self._items.values() for item in items]

    def load(self, item: Item) -> Example:
        """The example, from the cache or from its file."""
        key = str(item.file.path), item.place
        cached = self._cache.get(key)
        if cached is None:
            path = Path(key[0])
            cached = readable(path, lambda: self.read(path, item.place))
            if cached.kind != item.kind:
                raise DataError(f"{key[0]}: changed since the start. Start again.")
            self._cache.put(key, cached, size_in_memory(cached))
        return cached

    @cached_property
    def _cache(self) -> Cache[Example]:
        return Cache(MEMORY)

    def train_loader(
        self, rank: int = 0, processes: int = 1, done: Callable[[], int] = lambda: 0
    ) -> Loader:
        self._expect_resources()
        batches = self._train_batches(rank, processes, done)
        return Loader(self.samples(self.items("train")), batches, self.workers)

    def samples(self, items: Sequence[Item]) -> Dataset[Sample]:
        """What is trained on of some examples: all of each, unless a subclass crops them."""
        return Examined(Lazy(self.load, items))

    def _train_batches(self, rank: int, processes: int, done: Callable[[], int]) -> FileBatches:
        share = {"rank": rank, "ranks": processes, "done": done}
        return FileBatches(self.places(), self.repeats, self.batch_size, self.seed, **share)

    def places(self) -> list[tuple[str, Hashable]]:
        """The file of each training example, and what those of a batch have in common."""
        return [(item.file.name, item.kind) for item in self.items("train")]

    def evaluation_loader(self, split: Literal["validation", "test"]) -> Loader:
        self._expect_resources()
        items = self.items(split)
        batches = EvaluationBatches([item.kind for item in items], self.evaluation_batch_size)
        return Loader(Examined(Lazy(self.load, items)), batches, self.workers)


@dataclass(frozen=True, eq=False, kw_only=True)
class MeasuredData(LazyData):
    """Examples of files, that an instrument measured; subclasses say how a file is read.

    Args:
        root: a folder of files, at any depth, or one file; None where nothing is trained on.
        validation_root: those to validate on; None to hold files of `root` out.
        test_root: those to test on; None to hold files of `root` out.
    """

    root: str | None = None
    validation_root: str | None = None
    test_root: str | None = None

    suffixes: ClassVar[tuple[str, ...]]
    """The files that are read."""

    def files(self) -> dict[str, tuple[ImageFile, ...]]:
        return folder_files(self.root, self.validation_root, self.test_root, self.suffixes)

    def opened(self, path: Path, read: Callable[[Path], T], size: Callable[[T], int]) -> T:
        """What a file holds, from memory where it is one of those that were opened last.

        `size` is in bytes. A file that changed is read again.
        """
        stat = path.stat()
        key = path, stat.st_size, stat.st_mtime_ns
        found: T | None = self._opened.get(key)
        if found is None:
            found = read(path)
            self._opened.put(key, found, size(found))
        return found

    @cached_property
    def _opened(self) -> Cache[Any]:
        return Cache(MEMORY)

    def left_out(self) -> tuple[str, ...]:
        roots = (self.root, self.validation_root, self.test_root)
        found = folder_left_out(*roots, kinds=self.suffixes)
        return tuple(text for text in found if ".hdr (" not in text)  # of BART, read with its .cfl

    def where(self, split: str) -> str:
        name = type(self).__name__
        own = "" if split == "train" else f", or {name}.{split}_root"
        return f"give {name}.root, a folder of {listing(self.suffixes)}{own}"
