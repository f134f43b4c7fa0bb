"""Several data sets as one: `data=mixture`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from unfold.data.dataset import Data
from unfold.data.example import SPLITS, Example, Sample
from unfold.data.file_facts import FileFacts
from unfold.data.image_cache import ImageFile
from unfold.data.indexed.drawn import Keyed
from unfold.data.measured import Item, LazyData
from unfold.errors import ConfigError
from unfold.parameters.bounds import bounded, whole
from unfold.physics.base import Examples
from unfold.random import Draws, generator


@dataclass(frozen=True, eq=False, kw_only=True)
class MixedData(LazyData):
    """Training image i is of set k(i) ~ weights; validation and test images are those of all sets.

    Which set, and which image of it, depends on (seed, epoch, i) alone.

    Args:
        sets: of images, by name; their training images have one shape.
        weights: how often each is chosen, by the same names; positive, of any sum. Equal if None.
        repeats: training images of an epoch.
    """

    sets: Mapping[str, Data]
    weights: Mapping[str, float] | None = None
    repeats: int = bounded(1000, whole(1), "images of an epoch")
    batch_size: int = bounded(8, whole(1), "in images")
    evaluation_batch_size: int = bounded(8, whole(1), "in images")

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.shares
        if not given or given.keys() != self.sets.keys() or not min(given.values()) > 0:
            raise ConfigError(
                f"MixedData.weights = {dict(given)}: a positive number for each of sets = "
                f"{sorted(self.sets)} is expected, at least one."
            )
        for name, one in self.sets.items():
            if one.measured or one.channels != self.channels:
                what = "measurements" if one.measured else f"images of {one.channels} channels"
                raise ConfigError(
                    f"MixedData.sets.{name}: gives {what}; images of {self.channels} channels, "
                    "as MixedData.channels says, are expected."
                )

    @property
    def shares(self) -> Mapping[str, float]:
        """The weights by name."""
        return dict.fromkeys(self.sets, 1.0) if self.weights is None else self.weights

    @property
    def multiple(self) -> int:
        return max(one.multiple for one in self.sets.values())

    def where(self, split: str) -> str:
        return f"add to data.sets one that has images for {split}"

    measured = False

    def check(self, *, training: bool = True) -> None:
        for one in self.sets.values():
            one.check(training=training)
        super().check(training=training)
        x = {name: one.sketch(Draws(0, (0,))).images for name, one in self.sets.items()}
        shapes = {name: [*t.shape[1:]] for name, t in x.items() if t is not None}
        if training and len({*map(tuple, shapes.values())}) > 1:
            raise ConfigError(
                f"MixedData.sets: their training images have the shapes {shapes}, and a batch "
                "needs one; set the crop, or the size, of each."
            )

    def files(self) -> dict[str, tuple[ImageFile, ...]]:
        """A name for the images of each set in each split."""
        held = {name: one.shapes() for name, one in self.sets.items()}
        return {
            s: tuple(ImageFile(n, Path(s, n)) for n, shapes in held.items() if shapes[s])
            for s in SPLITS
        }

    def examine(self, file: ImageFile, *, fresh: bool = False) -> FileFacts:
        path, one = Path(str(file.path)), self.sets[file.name]
        own = self.shares[file.name] if path.parent.name == "train" else ""
        digest = f"{one.content(path.parent.name)}{own}"
        return FileFacts(0, digest, tuple(self.kinds(path)), "")

    def kinds(self, path: Path) -> list[tuple[Any, ...]]:
        split, found = path.parent.name, self.sets[path.name].shapes()[path.parent.name]
        if split == "train":
            return [(("image", *shape),) for _, shape in found]
        return [self.read(path, i).kind for i in range(len(found))]  # as they are cropped

    def read(self, path: Path, place: int) -> Example:
        split: Any = path.parent.name
        if split == "train":
            return self.sets[path.name].examples(split)[place][1]
        return self.sets[path.name].evaluation_loader(split).samples[0, place].example

    def typical(self) -> list[Examples]:
        first, *others = [one.typical() for one in self.sets.values()]
        return first + [x for each in others for x in each[1:]]

    def sketch(self, draws: Draws) -> Examples:
        return next(iter(self.sets.values())).sketch(draws)

    def places(self) -> list[tuple[str, Any]]:
        """One, of which each of the `repeats` is another image."""
        return [("train", None)]

    def samples(self, items: Sequence[Item]) -> Dataset[Sample]:
        loaders = [one.train_loader() for one in self.sets.values()]
        weights = [self.shares[name] / sum(self.shares.values()) for name in self.sets]

        def example(epoch: int, index: int) -> Example:
            g = generator(self.seed, "train", epoch, index, "mixture")
            k, i = int(g.choice(len(loaders), p=weights)), int(g.integers(2**31))
            # Any index will do: a set of n images takes it modulo n.
            return loaders[k].samples[epoch, i].example

        return Keyed(example)
