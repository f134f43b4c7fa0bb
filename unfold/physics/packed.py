"""Measurements of any shape and kind as vectors of one length, so that they make one batch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from torch.nn.functional import pad

from unfold.errors import ShapeError
from unfold.physics.operator import Operator
from unfold.physics.wrapped import Isometric
from unfold.typing import Field, Measurement, Shape


@dataclass(frozen=True, eq=False)
class Packed(Isometric):
    """Ax = (Bx, 0, …, 0), the numbers of Bx in a row; they measure nothing from then on.

    Among complex measurements real ones have the imaginary part 0, and A*y = B* Re y. Norms, moduli
    and every closed form are those of B.

    Args:
        operator: B.
        length: of the row, at least the numbers that B measures.
        among_complex: whether the row is complex; it must be where B's measurements are.

    Raises:
        ShapeError: the row is too short, or real where B is complex.
    """

    length: int
    among_complex: bool

    def __post_init__(self) -> None:
        if self.length < self._count or self.operator.complex_measurements > self.among_complex:
            kind = "complex" if self.operator.complex_measurements else "real"
            row = "complex" if self.among_complex else "real"
            raise ShapeError(
                f"Packed: {self._count} {kind} numbers of {type(self.operator).__name__} do not "
                f"fit into {self.length} {row} ones."
            )

    @property
    def _count(self) -> int:
        return prod(self.operator.measurement_shape)

    @property
    def complex_measurements(self) -> bool:
        return self.among_complex

    @property
    def measurement_shape(self) -> Shape:
        return (self.length,)

    def seen(self, v: Field) -> Measurement:
        """The row of what B measured."""
        row = v.flatten(1)
        row = row.to(row.dtype.to_complex()) if self.among_complex else row
        return pad(row, (0, self.length - self._count))

    def unseen(self, y: Measurement) -> Field:
        """What B measured, from the row of it."""
        own = y[:, : self._count].reshape(-1, *self.operator.measurement_shape)
        return own if self.operator.complex_measurements or not self.among_complex else own.real


def packing(operators: Mapping[str, Operator]) -> Callable[[Operator], Operator]:
    """What brings the measurements of operators like these into one shape and kind.

    It changes nothing where they agree, and else packs them into rows as long as the longest.

    Args:
        operators: one of each family, by name.

    Raises:
        ShapeError: the images differ in shape, or some are complex by nature and others not.
    """
    images = {name: (o.image_shape, o.complex_images) for name, o in operators.items()}
    if len(set(images.values())) > 1:
        words = "; ".join(f"{k}: {s} {'complex' if c else 'real'}" for k, (s, c) in images.items())
        raise ShapeError(
            f"One batch holds images of one shape and kind, and the families expect {words}. Mix "
            "families of the same images."
        )
    measured = {(o.measurement_shape, o.complex_measurements) for o in operators.values()}
    if len(measured) == 1:
        return lambda operator: operator
    length = max(prod(shape) for shape, _ in measured)
    among_complex = any(is_complex for _, is_complex in measured)
    return lambda operator: Packed(operator, length, among_complex)


def unpacked(operator: Operator, y: Measurement) -> Field:
    """A measurement in the shape and kind in which it was made."""
    return operator.unseen(y) if isinstance(operator, Packed) else y


def packed(operator: Operator, v: Field) -> Measurement:
    """What was made, in the shape and kind in which the operator measures."""
    return operator.seen(v) if isinstance(operator, Packed) else v
