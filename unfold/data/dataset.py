"""What gives the examples of a run, and the batches that they make: `data`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from unfold.arrays import expect_room
from unfold.data.batches import Loader
from unfold.data.example import SPLITS, Example
from unfold.data.intensity import Interval
from unfold.errors import ConfigError, listing, nearest
from unfold.machine import refusal
from unfold.parameters.bounds import Declared, Range, bounded, whole
from unfold.physics.base import Examples
from unfold.random import Draws

CHANNELS = Range("1 or 3", lambda v: v in (1, 3))


class SplitReport(NamedTuple):
    """The files of a split.

    files: how many there are.
    sizes: (height, width) and the number of images, the most frequent first.
    faults: the path and the reason of each file that cannot be used.
    notes: of the split to train on, what may not be meant in any split.
    """

    files: int
    sizes: tuple[tuple[tuple[int, ...], int], ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def usable(self) -> int:
        """Files without a fault."""
        return self.files - len(self.faults)


@dataclass(frozen=True, eq=False)
class Data(Declared, ABC):
    """Examples for training, validation and test.

    Args:
        seed: of their order, and of what is drawn for each.
        channels: C of the images.
        batch_size: training examples per step, of all devices together.
        evaluation_batch_size: the most validation or test examples at a time.
        workers: processes that prepare batches; 0 for none.
    """

    seed: int
    channels: int = bounded(1, whole(1))
    batch_size: int = bounded(8, whole(1), "in images")
    evaluation_batch_size: int = bounded(8, whole(1), "in images")
    workers: int = bounded(0, whole(0), "in processes")

    @property
    def truth(self) -> str:
        """What the images are that reconstructions are compared with; "" where there are none."""
        return "image"

    @property
    def measured(self) -> bool:
        """Whether the examples hold measurements, so that nothing is simulated."""
        return False

    @property
    def stated(self) -> Interval | None:
        """The stored values that are 0 and 1, where the user says which."""
        return None

    @property
    def multiple(self) -> int:
        """What the sides of images that are made of others are multiples of, in pixels."""
        return 1

    @abstractmethod
    def check(self, *, training: bool = True) -> None:
        """Find, before anything is computed, what a run cannot use; or an evaluation of one.

        Raises:
            DataError: examples are missing, corrupt, too small, or in two splits.
            ConfigError: an epoch does not fill a batch.
        """

    @abstractmethod
    def check_files(self, progress: Callable[[], None]) -> dict[str, SplitReport]:
        """Every fault of every file; `progress` is called after each."""

    @abstractmethod
    def files(self) -> Mapping[str, Sequence[Any]]:
        """The files of each of `SPLITS`, in the order of their indices; a `DataError` of none."""

    def left_out(self) -> tuple[str, ...]:
        """The files that are not used, each with the reason; none unless a subclass finds some."""
        return ()

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of the names, sizes and bytes of the files of each split.

        It does not depend on the location or the dates of the files.
        """

    @abstractmethod
    def shapes(self) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
        """The name and the shape of each image of each split, in order."""

    @abstractmethod
    def examples(self, split: str) -> Sequence[tuple[str, Example]]:
        """The name and the example of each image of a split, in order; read when asked for.

        Raises:
            ConfigError: no such split.
            DataError: as `check`.
        """

    @abstractmethod
    def content(self, split: str) -> str:
        """SHA-256 of what the examples of a split hold, whatever their names and their order."""

    @abstractmethod
    def sketch(self, draws: Draws) -> Examples:
        """One example of the kind that is trained on; read from no file where that can be."""

    @abstractmethod
    def typical(self) -> list[Examples]:
        """One example as it is trained on, then full ones of validation and test, of few sizes."""

    @abstractmethod
    def train_loader(
        self, rank: int = 0, processes: int = 1, done: Callable[[], int] = lambda: 0
    ) -> Loader:
        """Batches of one process of several; `done` as of `TrainBatches`."""

    @abstractmethod
    def evaluation_loader(self, split: Literal["validation", "test"]) -> Loader:
        """All examples of a split; those of one kind share a batch."""

    def expect_resources(self, needed: Mapping[str, int]) -> None:
        """Refuse more processes, or more bytes for an argument, than this machine has."""
        name = type(self).__name__
        if why := refusal(self.workers, 8, "processes"):
            raise ConfigError(f"{name}.workers = {self.workers}: {why}")
        for field, size in needed.items():
            try:
                expect_room(size)
            except ValueError as error:
                value = getattr(self, field)
                raise ConfigError(f"{name}.{field} = {value}: {error}. Lower it.") from error


def expect_split(split: str) -> None:
    """Raise a `ConfigError` for what is none of `SPLITS`."""
    if split not in SPLITS:
        raise ConfigError(
            f"split = {split}: unknown{nearest(split, SPLITS)} Available: {listing(SPLITS)}."
        )
