"""Blocks that are measured independently, reconstructed as images of their own."""

from typing import Any

from torch import Tensor

from unfold.initialization import assembled
from unfold.models.model import Solution
from unfold.physics.algebra import Composed
from unfold.physics.operator import Operator
from unfold.physics.sensing.gaussian import BlockMatrix
from unfold.typing import Measurement

PER_IMAGE = ("residual", "iterations", "converged", "gap", "diverged", "error")


def separated(y: Measurement, A: Operator, noise_level: Any) -> tuple[Tensor, Operator, Any]:
    """What was measured of every block, its operator and its noise, where A is to be separated."""
    blocks = _separate(A)
    if blocks is None:
        return y, A, noise_level
    channels, m, down, across = blocks.measurement_shape
    alone = BlockMatrix(blocks.matrix, (channels, blocks.side, blocks.side))
    if isinstance(noise_level, Tensor) and noise_level.numel() > 1:
        noise_level = noise_level.repeat_interleave(down * across)
    return y.movedim((3, 4), (1, 2)).reshape(-1, channels, m, 1, 1), alone, noise_level


def rejoined(solution: Solution, A: Operator) -> Solution:
    """The images of these blocks, each with the certificate of its worst block."""
    blocks = _separate(A)
    if blocks is None:
        return solution
    channels, _, down, across = blocks.measurement_shape

    def join(x: Tensor) -> Tensor:
        return assembled(A, x.reshape(-1, down, across, channels, blocks.side**2).movedim(3, 1))

    values = {n: v for n in PER_IMAGE if (v := getattr(solution, n)) is not None}
    each = {n: v.reshape(-1, down * across) for n, v in values.items()}
    worst: Any = {n: v.amin(1) if n == "converged" else v.amax(1) for n, v in each.items()}
    iterates = tuple(map(join, solution.iterates))
    return solution._replace(image=join(solution.image), iterates=iterates, **worst)


def _separate(A: Operator) -> BlockMatrix | None:
    blocks = A.outer if isinstance(A, Composed) else A
    return blocks if isinstance(blocks, BlockMatrix) and blocks.separate else None
