"""Examples: what a data set knows of one item, and batches of them."""

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any, NamedTuple

import torch
from jaxtyping import Complex64, Float32, Int64
from torch import Tensor

from unfold.errors import DataError, ShapeError
from unfold.physics.base import Examples
from unfold.typing import Image

SPLITS = ("train", "validation", "test")

Picture = Float32[Tensor, "_ _ _"] | Complex64[Tensor, "_ _ _"]
"""(C, H, W): one image, intensities, or magnitudes, in [0, 1]."""

Key = tuple[int, int]
"""(epoch, index) of one sample."""


class Example(NamedTuple):
    """One item of a data set: an image, or a measurement, or both.

    image: (C, H, W), the truth; None where there is none.
    measurement: as the forward model makes it, with its own noise; None where it is simulated.
    parameters: of the operator, by the names of the fields of the physics that take them: a mask,
        coil maps, a kernel, angles.
    metadata: what a user may want back: the file, the slice, the scale, the size of a voxel;
            the `maximum` of the volume in its file, where that states it, before it is scaled.
    """

    image: Tensor | None
    measurement: Tensor | None = None
    parameters: Mapping[str, Tensor] = {}
    metadata: Mapping[str, Any] = {}

    @property
    def kind(self) -> tuple[Any, ...]:
        """What the examples of a batch have in common: what is known of them, and its shapes."""
        return tuple((name, *t.shape) for name, t in self.known.items())

    @property
    def known(self) -> dict[str, Tensor]:
        """What there is of it, by name: the image, the measurement, the parameters."""
        parts = {"image": self.image, "measurement": self.measurement, **self.parameters}
        return {name: t for name, t in parts.items() if t is not None}


def expect_finite(name: str, example: Example) -> None:
    """Raise a `DataError` for an example with values that are not finite; `name` is its own."""
    for what, t in example.known.items():
        if bad := int((~torch.isfinite(t)).sum()):
            raise DataError(f"{name}: {bad} values of {what} are not finite.")


class Batch(NamedTuple):
    """Some examples, and what identifies their draws.

    examples: images in [0, 1], or measurements of them, or both.
    index: (B,), of each sample within its split: of the virtual sample in training (an image is
        cropped several times per epoch, and each crop is a sample), of the image elsewhere.
    epoch: the pass over the training samples, from 0; 0 in validation and test.
    """

    examples: Examples
    index: Int64[Tensor, " batch"]  # type: ignore[assignment]  # tuple.index is not needed
    epoch: int

    @property
    def images(self) -> Image | None:
        """(B, C, H, W), where they are known."""
        return self.examples.images

    def part(self, start: int, stop: int) -> "Batch":
        """Some consecutive examples."""
        few = self.examples.map(lambda t: t[start:stop])
        return Batch(few, self.index[start:stop], self.epoch)

    def split(self, parts: int) -> "list[Batch]":
        """The batch in equal parts, in their order; `parts` divides its size."""
        size = len(self.index) // parts
        return [self.part(i * size, (i + 1) * size) for i in range(parts)]


class Sample(NamedTuple):
    """One example of a batch, and the (epoch, index) that identify its draws."""

    example: Example
    key: Key


def stack(examples: Sequence[Example]) -> Examples:
    """Examples of one kind, as a batch.

    Raises:
        ShapeError: they differ in shape, or in what is known of them.
    """
    kinds = sorted({example.kind for example in examples})
    if len(kinds) > 1:
        sizes = ([f"{name} {'x'.join(map(str, shape))}" for name, *shape in k] for k in kinds)
        listed = ", ".join(" with ".join(one) for one in sizes).replace("image ", "")
        raise ShapeError(
            f"A batch needs examples of one kind and shape, and these are {listed}: "
            "crop them to one size, or set evaluation_batch_size=1."
        )

    def together(parts: Sequence[Tensor | None]) -> Tensor | None:
        known = [t for t in parts if t is not None]
        return torch.stack(known) if known else None

    known = (e.metadata for e in examples)
    maxima = torch.tensor([m.get("maximum", nan) / m.get("scale", 1.0) for m in known])
    named = {name: [e.parameters[name] for e in examples] for name in examples[0].parameters}
    return Examples(
        together([e.image for e in examples]),
        together([e.measurement for e in examples]),
        {name: torch.stack(values) for name, values in named.items()},
        None if bool(maxima.isnan().all()) else maxima,
    )


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one epoch into a batch; a `ShapeError` as of `stack`."""
    index = torch.tensor([sample.key[1] for sample in samples])
    return Batch(stack([sample.example for sample in samples]), index, samples[0].key[0])
