"""Measured files without a true image: reconstructed as they are, and compared with a training."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfold.data.dataset import Data
from unfold.data.example import stack
from unfold.data.measured import MeasuredData
from unfold.errors import ConfigError, DataError, DataWarning
from unfold.evaluation.base import Case, batches, measure
from unfold.evaluation.output_files import write_images
from unfold.physics.base import Examples, Physics
from unfold.physics.blur.blur import Blur, ValidBlur
from unfold.physics.noise.measured import estimate_level
from unfold.physics.operator import Operator
from unfold.pytree import batched_norm
from unfold.random import Draws
from unfold.reconstructor import Reconstructor
from unfold.typing import Measurement, PerImage

FAR = 1.5
"""A figure is reported that is above the range of the training by this factor, or below it."""

MOST = 16
"""Validation examples of which the ranges are recorded."""

REMEDIES = {
    "norm": "set data.normalize or data.intensity_range as in training",
    "noise": "train at this level",
    "sampling": "train with this sampling",
}

Ranges = Mapping[str, Sequence[float]]
"""The lowest and the highest value of each figure."""


def without_border(physics: Physics) -> Physics:
    """A periodic blur as a camera makes it: of a larger image, of which nothing is assumed."""
    kept = {"learned": physics.learned}
    return ValidBlur(physics.noise, physics.kernel, **kept) if type(physics) is Blur else physics


def cut(image: Tensor, y: Tensor) -> Tensor:
    """The part of a larger image that lies behind a photograph y."""
    down, across = (n - m for n, m in zip(image.shape[-2:], y.shape[-2:], strict=True))
    return image[..., down // 2 :, across // 2 :][..., : y.shape[-2], : y.shape[-1]]


@dataclass(frozen=True, eq=False)
class Scan:
    """How measured files become cases.

    Args:
        physics: that was trained on.
        data: reads files.
        stated: fields of the physics that count whatever a file has.
        opened: whether images are cut to their measurements, as a border was taken away.
        anchor: is where the cases are, and in their precision.
    """

    physics: Physics
    data: MeasuredData
    stated: tuple[str, ...] = ()
    opened: bool = False
    anchor: Tensor = torch.empty(())

    def cases(self, path: Path) -> Iterator[tuple[Case, dict[str, Any]]]:
        """Every measurement of a file with its operator, and its metadata; errors as of `read`."""
        for physics, make, metadata in self.read(path):
            yield make(physics), metadata

    def read(self, path: Path) -> Iterator[tuple[Physics, Callable[[Physics], Case], Any]]:
        """The physics of each measurement of a file, what makes the case of it, the metadata.

        Raises:
            DataError: the file cannot be used.
            ConfigError: its operator is not known; names what to give.
        """
        for place in range(len(self.data.kinds(path))):
            example = self.data.read(path, place)
            if example.measurement is None:
                raise DataError(f"{path}: holds an image and no measurement; give input=FILE.")
            examples = stack([example]).like(self.anchor, self.physics.on_host)
            if self.opened:  # the size of the image follows from that of y
                examples = examples._replace(images=None)
            own = self.physics.prospective(examples, self.stated)
            make = partial(_case, examples, Draws(0, (place,), "reconstruct"))
            yield own, make, {**example.metadata, "cut": self.opened}


def _case(examples: Examples, draws: Draws, physics: Physics) -> Case:
    y, operator = physics.measure(examples, draws)
    level = physics.known_level(y, operator) if physics.has_fixed_level else estimated(y, operator)
    return Case(y, operator, level)


def estimated(y: Measurement, operator: Operator) -> PerImage | None:
    """The noise level of each measurement; None where it cannot be estimated."""
    try:
        return estimate_level(y, operator)
    except ConfigError:  # neither frequencies nor an image
        return None


@torch.no_grad()
def reconstruct_file(
    net: Reconstructor, found: Iterable[tuple[Case, dict[str, Any]]], output: Path, trained: Ranges
) -> dict[str, float]:
    """Reconstruct the cases of a file, write them in its unit, and return what is known of them.

    Each is compared with the ranges of the training; `output` is as of `write_images`.
    """
    net.eval()
    images, every = [], []
    metadata: dict[str, Any] = {}
    for (y, operator, level), metadata in found:
        own = figures(y, operator)
        warn_outside(trained, own, str(metadata.get("file", output)))
        solution = net.solve(y, operator, noise_level=level)
        misfit = batched_norm(operator.A(solution.image) - y) / batched_norm(y)
        image = cut(solution.image, y) if metadata.pop("cut", False) else solution.image
        images.append(image[0].cpu().numpy() * metadata.get("scale", 1.0))
        known = {"iterations": float(solution.iterations[0]), "consistency": float(misfit)}
        known |= {"sampling": own["sampling"]}
        every.append(known | ({} if level is None else {"noise level": float(level)}))
    if len(shapes := {image.shape for image in images}) != 1:
        raise DataError(f"{metadata.get('file', output)}: images of the shapes {sorted(shapes)}.")
    write_images(output, np.stack(images), metadata)
    means = {name: float(np.mean([one[name] for one in every])) for name in every[0]}
    return {"images": float(len(images)), **means}


def figures(y: Measurement, operator: Operator) -> dict[str, float]:
    """What a network may depend on: the norm, the noise and the sampling of one measurement."""
    acquired, squared = operator.acquired, float(operator.norm_bound.max())
    size = prod(operator.image_shape)
    share = prod(operator.measurement_shape) / size if acquired is None else float(acquired.mean())
    found = {"norm": float(batched_norm(y)[0]) / (squared * size) ** 0.5, "sampling": share}
    level = estimated(y, operator)
    return found if level is None else found | {"noise": float(level[0])}


@torch.no_grad()
def ranges(physics: Physics, data: Data, seed: int) -> dict[str, list[float]]:
    """The ranges of `figures` over the first validation examples."""
    few = islice(batches(data.examples("validation"), 1), MOST)  # on the CPU, whatever the net
    every = [figures(*measure(physics, batch, seed, "validation")[:2]) for batch in few]
    names = every[0] if every else ()
    return {n: [min(one[n] for one in every), max(one[n] for one in every)] for n in names}


def warn_outside(trained: Ranges, own: Mapping[str, float], name: str) -> None:
    """Warn, with its `figures`, of a measurement unlike those of the training."""
    for key, value in own.items():
        low, high = trained.get(key, (value, value))
        if not low / FAR <= value <= high * FAR:
            warnings.warn(
                f"{name}: {key} {value:.3g}, and the run was trained on {low:.3g} to {high:.3g}: "
                f"{REMEDIES[key]}, or unfold adapt.",
                DataWarning,
                stacklevel=2,
            )
