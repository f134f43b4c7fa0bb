"""What an example is divided by, so that its intensities are about 1: `data.normalize`."""

import math

import torch
from torch import Tensor

from unfold.data.example import Example
from unfold.errors import DataError
from unfold.parameters.bounds import Range

ONE_CHANNEL = Range("1", lambda v: v == 1)
"""The channels of the images behind frequencies and projections."""


def divisors(*words: str) -> Range:
    """A positive number, or one of these words for it."""
    return Range(
        f"positive, or one of {sorted(words)}",
        lambda v: v in words or (not isinstance(v, str) and 0 < v < math.inf),
        words,
    )


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
