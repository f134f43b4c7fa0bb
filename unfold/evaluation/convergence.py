"""Convergence of the reconstruction of single images, step by step."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from unfold.evaluation.base import ImageBatch, batches, measure
from unfold.physics.base import Physics
from unfold.reconstructor import Reconstructor

Points = list[tuple[int, float]]
"""What was measured, and after how many steps."""


class Trace(NamedTuple):
    """Convergence of the reconstruction of one image.

    name: of the image.
    psnr: of the iterates, in dB on the range [0, 1]; empty where they are too many to keep.
    residual: of each step, in the quantity that `measure` names.
    measure: relative change, relative residual or relative duality gap.
    """

    name: str
    psnr: Points
    residual: Points
    measure: str


@torch.no_grad()
def follow(
    reconstructor: Reconstructor, physics: Physics, images: Sequence[tuple[str, Tensor]], seed: int
) -> list[Trace]:
    """Reconstruct named test images (C, H, W) one by one, and record their convergence.

    The draws are those of every evaluation.
    """
    return [_trace(reconstructor, physics, batch, seed) for batch in batches(images, 1)]


def _trace(reconstructor: Reconstructor, physics: Physics, batch: ImageBatch, seed: int) -> Trace:
    y, operator = measure(physics, batch, seed, "test")
    # A classical algorithm takes thousands of steps: it keeps figures, and no images.
    solution = reconstructor.solve(y, operator, keep_iterates=reconstructor.model.trains)
    (name,) = batch.names
    if history := solution.history:
        gap = all(math.isfinite(float(entry.gap)) for entry in history)
        residual = [(one.iteration, float(one.gap if gap else one.residual)) for one in history]
        return Trace(name, [], residual, f"relative {'duality gap' if gap else 'residual'}")
    images = solution.iterates
    errors = [float((image - batch.images).abs().square().mean()) for image in images]
    psnr = [(k, -10 * math.log10(max(error, 1e-12))) for k, error in enumerate(errors)]
    changes = [float((b - a).norm() / b.norm().clamp(min=1e-12)) for a, b in pairwise(images)]
    return Trace(name, psnr, list(enumerate(changes, start=1)), "relative change")
