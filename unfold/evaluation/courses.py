"""How the reconstruction of an image went, step by step."""

import math
from itertools import pairwise
from typing import NamedTuple

import torch

from unfold.models.model import Solution
from unfold.physics.operator import Operator
from unfold.reconstructor import Reconstructor
from unfold.typing import Image, Measurement

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
    reconstructor: Reconstructor, y: Measurement, operator: Operator, truth: Image, name: str
) -> Course:
    """Reconstruct one image, and keep what is seen on the way.

    Args:
        reconstructor: in evaluation mode.
        y: the measurement, (1, …).
        operator: A.
        truth: the image behind it.
        name: of the image.
    """
    # A classical algorithm takes thousands of steps: it keeps figures, and no images.
    solution = reconstructor.solve(y, operator, keep_iterates=reconstructor.model.trains)
    return _of_looks(name, solution) if solution.history else _of_images(name, solution, truth)


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
