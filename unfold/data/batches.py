"""Batches of images: which images each one holds, and the loader that yields them.

The order of samples is a function of (seed, epoch, position). There is no state to save: workers,
ranks and a resume in the middle of an epoch do not change it.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, Dataset, Sampler

from unfold.data.example import Batch, Example, Key, Picture, Sample, collate
from unfold.errors import ConfigError
from unfold.random import generator


def epoch_order(seed: int, epoch: int, samples: int) -> list[int]:
    """The order of the virtual samples in one epoch: a permutation keyed by (seed, epoch)."""
    order: list[int] = generator(seed, "train", epoch, "order").permutation(samples).tolist()
    return order


class TrainBatches(Sampler[list[Key]]):
    """The batches of a training epoch, as lists of (epoch, virtual index).

    An epoch is a permutation of all virtual samples, cut into global batches; an incomplete last
    batch is dropped. A rank takes a contiguous slice of each global batch, so that the slices of
    all ranks together are the batch of a single process.

    Args:
        samples: virtual samples of an epoch: images times crops per image.
        batch_size: of all ranks together.
        seed: of the order.
        rank: of this process, from 0.
        ranks: how many processes share a batch.
        done: returns, at the start of an epoch, how many of its batches precede a resume.

    Raises:
        ConfigError: the batch cannot be shared among the ranks, or an epoch fills no batch.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        done: Callable[[], int] = lambda: 0,
    ) -> None:
        if batch_size % ranks:
            raise ConfigError(
                f"batch_size = {batch_size}: it is the global batch, and must be a multiple of the "
                f"{ranks} processes that share it. Change batch_size or the number of processes."
            )
        if samples < batch_size:
            raise ConfigError(
                f"batch_size = {batch_size}: an epoch has only {samples} samples, fewer than one "
                "batch. Lower batch_size, or raise crops_per_image."
            )
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self.rank, self.ranks, self.done = rank, ranks, done
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches of a full epoch, also after a resume."""
        return self.samples // self.batch_size

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches(self.epoch, self.done()))

    def batches(self, epoch: int, done: int = 0) -> list[list[Key]]:
        """This rank's part of each batch of `epoch`, without the first `done`."""
        order = epoch_order(self.seed, epoch, self.samples)
        share = self.batch_size // self.ranks
        starts = [b * self.batch_size + self.rank * share for b in range(done, len(self))]
        return [[(epoch, i) for i in order[start : start + share]] for start in starts]


BLOCK = 16
"""Files whose examples are shuffled together."""


class FileBatches(TrainBatches):
    """Batches of examples of one kind each; files are shuffled in blocks, which bounds memory.

    Incomplete batches are dropped: one at most of each kind.

    Args:
        places: the file and the kind of each example.
        repeats: of each in an epoch.
        batch_size: of all ranks together.
        seed: of the order.
        share: rank, ranks and done, as of `TrainBatches`.
    """

    def __init__(
        self,
        places: Sequence[tuple[str, Hashable]],
        repeats: int,
        batch_size: int,
        seed: int,
        **share: Any,
    ) -> None:
        super().__init__(len(places) * repeats, batch_size, seed, **share)
        self.places, self.repeats = places, repeats
        counts = Counter(kind for _, kind in places)
        self.count = sum(n * repeats // batch_size for n in counts.values())
        if not self.count:
            raise ConfigError(
                f"batch_size = {batch_size}: no kind of example has so many ({len(counts)} "
                f"kinds of at most {max(counts.values())}). Lower batch_size, or raise repeats."
            )

    def __len__(self) -> int:
        return self.count

    def order(self, epoch: int) -> Iterator[int]:
        """The samples of an epoch: blocks of files, each of them shuffled."""
        files: dict[str, list[int]] = {}
        for i, (name, _) in enumerate(self.places):
            files.setdefault(name, []).append(i)
        draw, groups = generator(self.seed, "train", epoch, "order"), list(files.values())
        shuffled = [groups[i] for i in draw.permutation(len(groups))]
        for start in range(0, len(shuffled), BLOCK):
            block = [i for group in shuffled[start : start + BLOCK] for i in group]
            samples = [i + r * len(self.places) for i in block for r in range(self.repeats)]
            yield from (samples[k] for k in draw.permutation(len(samples)))

    def batches(self, epoch: int, done: int = 0) -> list[list[Key]]:
        waiting: dict[Hashable, list[int]] = {}
        full: list[list[int]] = []
        for sample in self.order(epoch):
            _, kind = self.places[sample % len(self.places)]
            group = waiting.setdefault(kind, [])
            group.append(sample)
            if len(group) == self.batch_size:
                full.append(waiting.pop(kind))
        share = self.batch_size // self.ranks
        mine = slice(self.rank * share, (self.rank + 1) * share)
        return [[(epoch, i) for i in batch[mine]] for batch in full[done:]]


def consecutive(shapes: Sequence[Hashable], size: int) -> list[list[int]]:
    """The positions of consecutive images of one shape, at most `size` together."""
    alike = [list(places) for _, places in groupby(range(len(shapes)), shapes.__getitem__)]
    return [places[i : i + size] for places in alike for i in range(0, len(places), size)]


class EvaluationBatches(Sampler[list[Key]]):
    """The images of a split in order; consecutive ones of equal shape share a batch.

    Every rank gets all images: averages over ranks are then exact, and no rank is idle.

    Args:
        shapes: of each image.
        batch_size: the most images of a batch.
    """

    def __init__(self, shapes: Sequence[Hashable], batch_size: int) -> None:
        self._batches = [[(0, i) for i in group] for group in consecutive(shapes, batch_size)]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self._batches)


class Loader:
    """Batches of a data set, the same for any number of workers, from the first request on.

    Lightning makes the iterator before it restores a checkpoint and sets the epoch. A loader with
    workers would already fetch batches of the wrong epoch; this one waits.

    Args:
        dataset: of samples.
        batches: which samples each batch holds; Lightning calls it `sampler`, and sets its epoch.
        workers: processes that prepare batches; 0 for none besides the trainer's.
    """

    def __init__(
        self, dataset: Dataset[Sample], batches: TrainBatches | EvaluationBatches, workers: int
    ) -> None:
        self.sampler = batches
        self.batch_sampler = None  # read by Lightning wherever there is a sampler
        self.samples, self._workers = dataset, workers
        self._loader: DataLoader[Sample] | None = None

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        if self._loader is None:
            self._loader = DataLoader(
                self.samples,
                batch_sampler=self.sampler,
                num_workers=self._workers,
                collate_fn=collate,
                persistent_workers=self._workers > 0,
                generator=torch.Generator(),  # or it draws from the global generator
            )
        yield from self._loader

    def close(self) -> None:
        """End the workers.

        Left to the garbage collector, each would block for five seconds: their queue is gone by
        then.
        """
        self._loader = None

    def state_dict(self) -> dict[str, int]:
        """Empty: the position in an epoch follows from the trainer's progress.

        Lightning resumes only loaders with this method.
        """
        return {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Nothing to restore."""


class CropWindow(NamedTuple):
    """A crop: its corner in pixels, whether it is flipped, and its rotation in units of 90°."""

    top: int
    left: int
    flipped: bool
    turns: int


def random_window(seed: int, key: Key, height: int, width: int, crop: int) -> CropWindow:
    """The window of one virtual sample: a function of (seed, epoch, index) and the sizes.

    Of an image that is smaller than the crop it is all, rotated so that its sides stay.
    """
    epoch, index = key
    draw = generator(seed, "train", epoch, index, "crop")
    rest = [max(size - crop, 0) for size in (height, width)]
    top, left = (int(draw.integers(0, size, endpoint=True)) for size in rest)
    flipped, turns = bool(draw.integers(2)), int(draw.integers(4))
    square = min(height, crop) == min(width, crop)
    return CropWindow(top, left, flipped, turns if square else turns & 2)


def cut(image: Picture, window: CropWindow, crop: int) -> Picture:
    """(C, crop, crop): the window of an image, flipped left to right, then rotated."""
    part = image[:, window.top : window.top + crop, window.left : window.left + crop]
    part = part.flip(-1) if window.flipped else part
    return torch.rot90(part, window.turns, (-2, -1)).contiguous()


def _resized(image: Picture, side: int) -> Picture:
    """(C, side, side): without aliases, in [0, 1] as before."""
    smaller = interpolate(image[None], (side, side), mode="bicubic", antialias=True)
    return smaller[0].clamp(0, 1)


def cut_to_multiple(image: Picture, multiple: int) -> Picture:
    """The image, cropped at the bottom and right to sides that are multiples of `multiple`."""
    height, width = ((size // multiple) * multiple for size in image.shape[-2:])
    return image[:, :height, :width].contiguous()


@dataclass(frozen=True, eq=False)
class TrainCrops(Dataset[Sample]):
    """Square random crops; virtual sample i is a crop of image i modulo the number of images.

    Args:
        images: to crop from, each at least `crop` pixels high and wide.
        seed: of the windows.
        crop: side of a crop, in pixels; None for whole images.
        flips: whether half of them are flipped left to right.
        rotations: whether they are rotated by multiples of 90 degrees.
        shrink: the largest factor by which they are made smaller, which is drawn log-uniform.
    """

    images: Sequence[Picture]
    seed: int
    crop: int | None
    flips: bool = True
    rotations: bool = True
    shrink: float = 1.0

    def __getitem__(self, key: Key) -> Sample:
        image = self.images[key[1] % len(self.images)]
        height, width = image.shape[-2:]
        side = self.crop or max(height, width)
        factor = self.shrink ** generator(self.seed, "train", *key, "shrink").random()
        whole = max(side, min(int(side * factor), height, width))
        window = random_window(self.seed, key, height, width, whole)
        turns, flipped = window.turns * self.rotations, window.flipped and self.flips
        found = cut(image, window._replace(turns=turns, flipped=flipped), whole)
        return Sample(Example(found if whole == side else _resized(found, side)), key)


@dataclass(frozen=True, eq=False)
class Examined(Dataset[Sample]):
    """The examples of a split as samples; sample i is example i modulo their number."""

    examples: Sequence[Example]

    def __getitem__(self, key: Key) -> Sample:
        return Sample(self.examples[key[1] % len(self.examples)], key)
