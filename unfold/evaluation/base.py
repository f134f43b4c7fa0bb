"""What is measured at the end of a run: `evaluation`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unfold.data.batches import consecutive
from unfold.errors import NonFiniteError, listing
from unfold.evaluation.metrics import ImageMetrics
from unfold.models.model import Solution
from unfold.parameters.bounds import Declared
from unfold.physics.base import Physics
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.reconstructor import Reconstructor
from unfold.typing import Image, Measurement, PerImage

OTHERS = "evaluations"
"""The folder in a run directory of evaluations that are not its own, each in its own directory."""


class ImageBatch(NamedTuple):
    """Images of one shape, with their names and their positions in the split."""

    names: tuple[str, ...]
    positions: tuple[int, ...]
    images: Image


def batches(images: Sequence[tuple[str, Tensor]], size: int = 8) -> list[ImageBatch]:
    """Group consecutive images of one shape, at most `size` together."""
    groups = consecutive([tuple(image.shape) for _, image in images], size)
    return [
        ImageBatch(tuple(images[i][0] for i in g), tuple(g), torch.stack([images[i][1] for i in g]))
        for g in groups
    ]


class Case(NamedTuple):
    """The measurements of a batch, the operators that made them, and the noise levels, (B,)."""

    y: Measurement
    operator: Operator
    noise_level: PerImage | None


def measure(physics: Physics, batch: ImageBatch, seed: int, split: str) -> Case:
    """The measurements of a batch: a function of the seed, the split and the images."""
    draws = Draws(seed, batch.positions, split)
    y, operator = physics.measure(batch.images, draws)
    return Case(y, operator, physics.noise_level(y, operator, draws))


class Condition(NamedTuple):
    """An operator and a noise level to test under.

    name: of the operator.
    noise: the level, as the tables print it.
    physics: the forward model.
    """

    name: str
    noise: str
    physics: Physics


class Example(NamedTuple):
    """One image under one condition, for the gallery.

    measurement: as an image; where it is none, the back-projection.
    pictured: whether it is the measurement itself.
    """

    condition: Condition
    name: str
    truth: Tensor
    measurement: Tensor
    pictured: bool
    baseline: Tensor
    ours: Tensor


def check_finite(image: Image, names: Sequence[str], condition: str) -> None:
    """Refuse reconstructions that are not finite: no mean may leave them out.

    Raises:
        NonFiniteError: names the images and the condition.
    """
    finite = torch.isfinite(image).flatten(1).all(1).tolist()
    if bad := [name for name, ok in zip(names, finite, strict=True) if not ok]:
        raise NonFiniteError(
            f"The reconstruction of {listing(bad)} under {condition} is not finite. Leave the "
            "operator out of the evaluation, or change the model's tolerances or step sizes."
        )


def convergence_flags(solution: Solution) -> list[str]:
    """`True` or `False` for each image, or "" where the model has no tolerance."""
    if solution.converged is None:
        return [""] * len(solution.image)
    return [str(flag) for flag in solution.converged.tolist()]


@dataclass(frozen=True, eq=False)
class Context:
    """A reconstructor, and what it is evaluated on.

    Args:
        reconstructor: with the weights to evaluate.
        data: gives `images(split)`, `fingerprint()`, `evaluation_batch_size` and `multiple_of`.
        directory: of the run, or of another evaluation in its folder `evaluations`; results go into
            the folder `evaluation` of it.
        physics: the forward model that was trained on.
        trained_on: its name.
        metrics: of every image.
        seed: of the draws; those of the test images never change.
        progress: whether a progress bar is shown.
    """

    reconstructor: Reconstructor
    data: Any
    directory: Path
    physics: Physics
    trained_on: str
    metrics: ImageMetrics
    seed: int
    progress: bool = True

    @property
    def run(self) -> Path:
        """The directory of the run."""
        inside = self.directory.parent.name == OTHERS
        return self.directory.parents[1] if inside else self.directory

    @property
    def folder(self) -> Path:
        """Where results go."""
        return self.directory / "evaluation"

    def test_batches(self) -> list[ImageBatch]:
        """The test images."""
        return batches(self.data.images("test"), self.data.evaluation_batch_size)


@dataclass(frozen=True)
class Evaluation(Declared, ABC):
    """What is measured at the end of a run."""

    def forward_models(self) -> Mapping[str, Physics]:
        """The forward models to test on besides the one trained on, by name."""
        return {}

    def check(self, reconstructor: Reconstructor, physics: Physics, operator: Operator) -> None:
        """Refuse, before training, a run that cannot be evaluated; `operator` is one sample."""

    @abstractmethod
    def run(self, context: Context) -> dict[str, float]:
        """Write rows, tables and figures, and return the main figures."""


@dataclass(frozen=True)
class NoEvaluation(Evaluation):
    """Nothing is measured."""

    def run(self, context: Context) -> dict[str, float]:
        return {}


def evaluate(evaluation: Evaluation, context: Context) -> dict[str, float]:
    """Run an evaluation with the reconstructor in evaluation mode."""
    context.reconstructor.eval()
    return evaluation.run(context)
