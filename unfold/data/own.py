"""Examples of a class of the user's, or of a data set of PyTorch's: `data=own`."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfold.array_files import chosen, read_named
from unfold.data.example import SPLITS, Example, expect_finite
from unfold.data.example_cache import size_in_memory
from unfold.data.file_facts import FileFacts, readable
from unfold.data.image_cache import ImageFile
from unfold.data.measured import LazyData
from unfold.errors import ConfigError, DataError


class ExampleSet(ABC):
    """Examples by their places; a class with these two methods need not derive from it."""

    @abstractmethod
    def __len__(self) -> int:
        """How many."""

    @abstractmethod
    def example(self, i: int) -> Example:
        """The i-th: an image (C, H, W) in [0, 1], a measurement, or both."""


@dataclass(frozen=True)
class TorchExamples(ExampleSet):
    """The items of a `torch.utils.data.Dataset`: tensors, tuples, or dictionaries of fields.

    Args:
        dataset: with `__len__` and `__getitem__`.
        fields: what the entries of an item are, `image`, `measurement` or a parameter of the
            operator; `_`, and further entries, are left out.
    """

    dataset: Any
    fields: Sequence[str] = ("image",)

    def __len__(self) -> int:
        return len(self.dataset)

    def example(self, i: int) -> Example:
        item = self.dataset[i]
        if not isinstance(item, Mapping):
            entries = item if isinstance(item, tuple | list) else (item,)
            item = dict(zip(self.fields, entries, strict=False))
        item = {name: torch.as_tensor(value) for name, value in item.items() if name != "_"}
        rest = {name: t for name, t in item.items() if name not in ("image", "measurement")}
        return Example(item.get("image"), item.get("measurement"), rest)


@dataclass(frozen=True, eq=False)
class ArrayExamples(ExampleSet):
    """The images of an array, (N, n), (N, H, W) or (N, C, H, W), as they are stored.

    Vectors are images of one row.

    Args:
        path: .npy, .npz, .mat or .cfl, of one array.
        size: n of vectors, where the array may also be (n, N); None where it is not.
    """

    path: str
    size: int | None = None

    @cached_property
    def images(self) -> Tensor:
        """(N, C, H, W)."""
        arrays = read_named(self.path, "ArrayExamples.path")
        x = arrays[chosen(self.path, arrays)]
        x = x.T if x.ndim == 2 and len(x) == self.size else x
        fits = x.ndim in (2, 3, 4) and self.size in (None, x.shape[-1])
        if x.dtype.kind not in "fiub" or not fits or not np.isfinite(x).all():
            vectors = "(N, n)" if self.size is None else f"(N, {self.size}), ({self.size}, N)"
            raise DataError(
                f"{self.path}: an array {x.shape} of {x.dtype}; expected finite real numbers, "
                f"{vectors}, (N, H, W) or (N, C, H, W)."
            )
        x = np.ascontiguousarray(x, dtype=np.float32)
        return torch.from_numpy(x.reshape(len(x), *(1,) * (4 - x.ndim), *x.shape[1:]))

    def __len__(self) -> int:
        return len(self.images)

    def example(self, i: int) -> Example:
        return Example(self.images[i])


@dataclass(frozen=True, eq=False, kw_only=True)
class OwnData(LazyData):
    """Examples of objects with `__len__` and `example(i)`, one for each split.

    Every example is read once at the start, for its shape and its checksum.

    Args:
        train: to train on; None where nothing is.
        validation: to validate on.
        test: to test on.
    """

    train: ExampleSet | Any = None
    validation: ExampleSet | Any = None
    test: ExampleSet | Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for split in SPLITS:
            given = getattr(self, split)
            if given is not None and not (hasattr(given, "example") and hasattr(given, "__len__")):
                raise ConfigError(
                    f"{split} = {type(given).__name__}: has no `__len__` and `example(i)`. Wrap a "
                    "data set of PyTorch's in unfold.data.own.TorchExamples."
                )

    @property
    def measured(self) -> bool:  # type: ignore[override]
        return any("measurement" in part for item in self.every for part in item.kind)

    def where(self, split: str) -> str:
        return f"give data.{split}, an object with `__len__` and `example(i)`"

    def files(self) -> dict[str, tuple[ImageFile, ...]]:
        """A name for each example, in the order of their places."""
        counts = {split: len(getattr(self, split) or ()) for split in SPLITS}
        return {
            split: tuple(ImageFile(f"{i:06d}", Path(split, str(i))) for i in range(count))
            for split, count in counts.items()
        }

    def examine(self, file: ImageFile, *, fresh: bool = False) -> FileFacts:
        path = Path(str(file.path))
        try:
            example = readable(path, lambda: self.read(path, 0))
        except DataError as error:
            return FileFacts(0, str(path), (), str(error))
        content = b"".join(
            n.encode() + t.resolve_conj().numpy().tobytes() for n, t in example.known.items()
        )
        size = size_in_memory(example)
        return FileFacts(size, hashlib.sha256(content).hexdigest(), (example.kind,), "")

    def kinds(self, path: Path) -> list[tuple[Any, ...]]:
        return [self.read(path, 0).kind]

    def read(self, path: Path, place: int) -> Example:
        split, i = path.parent.name, int(path.name)
        source = getattr(self, split)
        example = source.example(i)
        name = f"data.{split}.example({i})"
        if not isinstance(example, Example) or example[:2] == (None, None):
            raise DataError(f"{name}: {type(example).__name__}; expected an Example with an image, "
                            "a measurement, or both.")  # fmt: skip
        for what, t in example.known.items():
            if not isinstance(t, Tensor):
                raise DataError(f"{name}: {what} is a {type(t).__name__}; expected a tensor.")
        expect_finite(name, example)
        image = example.image
        if image is not None and (image.ndim != 3 or len(image) != self.channels):
            raise DataError(
                f"{name}: an image of {tuple(image.shape)}; expected (channels, H, W), and "
                f"data.channels = {self.channels}."
            )
        simulated = example.measurement is None and not isinstance(source, ArrayExamples)
        if image is not None and simulated and float(image.abs().max()) > 1:
            raise DataError(f"{name}: intensities above 1, expected [0, 1]; divide them.")
        return example
