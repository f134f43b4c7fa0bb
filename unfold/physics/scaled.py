"""Multiples of an operator."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from unfold.errors import ShapeError
from unfold.physics.wrapped import Wrapped
from unfold.tree import per_image
from unfold.typing import Field, Image, Measurement, PerImage, Scalar


@dataclass(frozen=True, eq=False)
class Scaled(Wrapped):
    """Ax = s Bx, with every closed form that B has.

    Args:
        operator: B.
        scale: s, real, not 0, (B or 1,): one number for each sample, or for all.

    Raises:
        ShapeError: the scale is not a vector, or of another number of samples.
    """

    scale: Tensor

    def __post_init__(self) -> None:
        if self.scale.ndim != 1 or self.scale.is_complex():
            raise ShapeError(
                f"Scaled.scale must be real, (batch or 1,), got {tuple(self.scale.shape)} of "
                f"{self.scale.dtype}."
            )
        if len(self.scale) != 1 != self.operator.batch != len(self.scale):
            raise ShapeError(
                f"Scaled: {len(self.scale)} numbers for an operator of {self.operator.batch} "
                "samples; pass one for each, or one for all."
            )

    @property
    def batch(self) -> int:
        """That of B, or of the scale."""
        return max(self.operator.batch, len(self.scale))

    def seen(self, v: Field) -> Measurement:
        return per_image(self.scale, v) * v

    def unseen(self, y: Measurement) -> Field:
        return self.seen(y)

    def normal(self, x: Image) -> Image:
        """s² B*Bx."""
        return per_image(self.scale**2, x) * self.operator.normal(x)

    def solve_normal(self, b: Image, gamma: Scalar, start: Image | None = None) -> Image:
        """(I + γs² B*B)⁻¹b."""
        own = gamma * per_image(self.scale**2, b)
        return self.operator.solve_normal(b, own.expand(len(b), *own.shape[1:]), start)

    @cached_property
    def norm_squared(self) -> PerImage:
        """s² ‖B‖²."""
        return self.scale.detach() ** 2 * self.operator.norm_squared.to(self.scale.device)

    @cached_property
    def norm_bound(self) -> PerImage:
        """s² times that of B."""
        return self.scale.detach() ** 2 * self.operator.norm_bound.to(self.scale.device)

    def pseudo_inverse(self, y: Measurement) -> Image:
        """B⁺y / s."""
        return self.operator.pseudo_inverse(y / per_image(self.scale, y))
