"""How the reconstruction of an image went, step by step."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from unfold.evaluation.baselines import Batch, batches, measure
from unfold.models.model import Solution
from unfold.physics.base import Physics
from unfold.reconstructor import Reconstructor
from unfold.typing import Image

Points = list[tuple[int, float]]
"""What was measured, and after how many steps."""


class Course(NamedTuple):
    """How the reconstruction of one image went.

    name: of the image.
    psnr: of the iterates, in dB on the range [0, 1]; empty where they are too many to keep.
    left: how far from standing still each step was, by what `measure` names.
    measure: what that is.
    """

    name: str
    psnr: Points
    left: Points
    measure: str


@torch.no_grad()
def follow(
    reconstructor: Reconstructor, physics: Physics, images: Sequence[tuple[str, Tensor]], seed: int
) -> list[Course]:
    """Reconstruct test images one by one, and keep what is seen on the way.

    Args:
        reconstructor: in evaluation mode.
        physics: what measures them.
        images: the first ones with their names, (C, H, W) each.
        seed: of the draws, which are those of every evaluation.
    """
    return [_course(reconstructor, physics, batch, seed) for batch in batches(images, 1)]


def _course(reconstructor: Reconstructor, physics: Physics, batch: Batch, seed: int) -> Course:
    y, operator = measure(physics, batch, seed, "test")
    # A classical algorithm takes thousands of steps: it keeps figures, and no images.
    solution = reconstructor.solve(y, operator, keep_iterates=reconstructor.model.trains)
    (name,) = batch.names
    if solution.history:
        return _of_looks(name, solution)
    return _of_images(name, solution, batch.images)


def _of_looks(name: str, solution: Solution) -> Course:
    looks = solution.history
    gap = all(math.isfinite(float(look.gap)) for look in looks)
    left = [(look.iteration, float(look.gap if gap else look.residual)) for look in looks]
    return Course(name, [], left, f"relative {'duality gap' if gap else 'residual'}")


def _of_images(name: str, solution: Solution, truth: Image) -> Course:
    images = solution.iterates
    errors = [float((image - truth).abs().square().mean()) for image in images]
    psnr = [(k, -10 * math.log10(max(error, 1e-12))) for k, error in enumerate(errors)]
    changes = [float((b - a).norm() / b.norm().clamp(min=1e-12)) for a, b in pairwise(images)]
    return Course(name, psnr, list(enumerate(changes, start=1)), "relative change")
