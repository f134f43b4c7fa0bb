"""Blocks that are measured independently, reconstructed as images of their own."""

from torch import Tensor

from unfold.initialization import assembled
from unfold.models.model import Solution
from unfold.physics.algebra import Composed
from unfold.physics.operator import Operator
from unfold.physics.sensing.gaussian import BlockMatrix
from unfold.typing import Measurement

Level = float | Tensor | None


def separated(y: Measurement, A: Operator, noise_level: Level) -> tuple[Tensor, Operator, Level]:
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

    def worst(values: Tensor) -> Tensor:
        return values.reshape(-1, down * across).amax(1)

    def worst_of(values: Tensor | None) -> Tensor | None:
        return None if values is None else worst(values)

    reached = solution.converged
    return solution._replace(
        image=join(solution.image),
        iterates=tuple(map(join, solution.iterates)),
        residual=worst(solution.residual),
        iterations=worst(solution.iterations),
        converged=None if reached is None else ~worst(~reached),
        gap=worst_of(solution.gap),
        diverged=worst_of(solution.diverged),
        error=worst_of(solution.error),
    )


def _separate(A: Operator) -> BlockMatrix | None:
    blocks = A.outer if isinstance(A, Composed) else A
    return blocks if isinstance(blocks, BlockMatrix) and blocks.separate else None
