"""What operators that act together have to say of each sample."""

from unfold.errors import ShapeError
from unfold.physics.operator import Operator


def linear_together(operators: tuple[Operator, ...]) -> tuple[bool, ...]:
    """Whether all are linear: of each sample, or one for all."""
    each = [operator.linear_samples for operator in operators]
    return tuple(all(own[i % len(own)] for own in each) for i in range(max(map(len, each))))


def same_samples(owner: str, operators: tuple[Operator, ...]) -> None:
    """Refuse operators of different numbers of samples.

    Raises:
        ShapeError: with the numbers.
    """
    batches = {operator.batch for operator in operators} - {1}
    if len(batches) > 1:
        raise ShapeError(
            f"{owner}: the operators belong to {sorted(batches)} samples; pass operators of one "
            "batch, or that are the same for all."
        )
