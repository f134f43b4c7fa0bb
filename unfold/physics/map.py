"""Differentiable maps from images to measurements: what linear operators and others share."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unfold.errors import ShapeError
from unfold.tree import tensors
from unfold.typing import Image, Measurement, Shape

if TYPE_CHECKING:
    from unfold.physics.operator import Operator
else:
    Operator = Any


@dataclass(frozen=True, eq=False)
class Map(ABC):
    """A from images (B, C, H, W) to measurements (B, …), real or complex, with its derivative J.

    A linear map is its own derivative. One that is not is linearised at an image.
    """

    @property
    @abstractmethod
    def image_shape(self) -> Shape:
        """(C, H, W) of one image."""

    @property
    @abstractmethod
    def measurement_shape(self) -> Shape:
        """The shape of one measurement."""

    @property
    @abstractmethod
    def linear(self) -> bool:
        """Whether A is linear; where it is not, there is J(x)* and no A*."""

    @cached_property
    def complex_images(self) -> bool:
        """Whether its images are complex by nature; a real operator takes images of both kinds."""
        return any(t.is_complex() for t in tensors(self))

    @cached_property
    def complex_measurements(self) -> bool:
        """Whether the measurement is complex, also that of a real image."""
        return self.complex_images

    @property
    def anchor(self) -> Tensor:
        """A tensor in the precision and on the device of A; a default one where A holds none."""
        held = [t for t in tensors(self) if t.is_floating_point() or t.is_complex()]
        return held[0] if held else torch.empty(())

    @abstractmethod
    def forward(self, x: Image) -> Measurement:
        """Ax, shapes already checked."""

    def A(self, x: Image) -> Measurement:
        """Ax.

        Raises:
            ShapeError: the image does not have `image_shape`, the batch is another, or it is real
                where the operator's are complex, or the other way round.
        """
        self._expect("A", x, self.image_shape)
        differs = x.is_complex() != self.complex_images
        if differs and (self.complex_measurements or not self.linear):
            kind = "complex" if self.complex_images else "real"
            raise ShapeError(
                f"{type(self).__name__}.A expects {kind} images, got {x.dtype} of "
                f"{tuple(x.shape)}; a real image as a complex one is x + 0j, and "
                "`Physics.complex_operator` draws operators of complex images."
            )
        return self.forward(x)

    @abstractmethod
    def linearised(self, x: Image) -> Operator:
        """J(x), the derivative of A at an image, as a linear operator: A itself where A is."""

    def vjp(self, x: Image, u: Measurement) -> Image:
        """J(x)*u, the vector–Jacobian product: A*u whatever x, where A is linear."""
        return self.linearised(x).adjoint(u)

    def reference(self, like: Tensor) -> Image:
        """x̄, one for each sample: where a non-linear A is linearised before an image is known.

        It is ½ in every pixel, as images are in [0, 1]; on the device and in the precision of
        `like`. What is made of several maps is linearised by each at its own.
        """
        kind = like.dtype.to_complex() if self.complex_images else like.dtype.to_real()
        return torch.full((self.batch, *self.image_shape), 0.5, dtype=kind, device=like.device)

    def tangent(self, like: Tensor) -> Operator:
        """J(x̄), the linear operator that stands for A before an image is known: A where linear."""
        return self.linearised(self.reference(like))

    def recentred(self, y: Measurement) -> Measurement:
        """y − A(x̄) + J(x̄)x̄: what J(x̄) would have measured of the image; y where A is linear."""
        if self.linear:
            return y
        self._expect("recentred", y, self.measurement_shape)
        x = self.reference(y).expand(len(y), *self.image_shape)
        return y - self.forward(x) + self.tangent(y).forward(x)

    def offset(self, like: Tensor) -> Measurement:
        """b = A(x̄) − J(x̄)x̄, so that A(x) ≈ b + J(x̄)x: one for each sample of `like`."""
        kind = like.dtype.to_complex() if self.complex_measurements else like.dtype.to_real()
        shape = (len(like), *self.measurement_shape)
        return -self.recentred(torch.zeros(shape, dtype=kind, device=like.device))

    def back_project(self, y: Measurement) -> Image:
        """A*y; where A is not linear, that of its tangent: J(x̄)*(y − A(x̄) + J(x̄)x̄)."""
        return self.tangent(y).A_adjoint(self.recentred(y))

    @cached_property
    def batch(self) -> int:
        """How many samples the operator belongs to; 1 where it is the same for all."""
        return max((t.shape[0] for t in tensors(self) if t.ndim), default=1)

    @cached_property
    def _single(self) -> torch.dtype | None:
        """The kind of a tensor of the operator that is not in double precision, if there is one."""
        kinds = (t.dtype for t in tensors(self) if t.is_floating_point() or t.is_complex())
        return next((kind for kind in kinds if kind.to_real() != torch.float64), None)

    def _expect(self, method: str, t: Tensor, shape: Shape) -> None:
        got = t.shape  # asked for once: small operators take no longer than these questions
        if got[1:] != shape:
            want = ", ".join(map(str, ("batch", *shape)))
            raise ShapeError(f"{type(self).__name__}.{method} expects ({want}), got {tuple(got)}.")
        if (count := got[0]) != self.batch != 1 or count == 0:
            raise ShapeError(
                f"{type(self).__name__}.{method}: the operator belongs to {self.batch} samples and "
                f"the batch holds {count}; pass one operator for each, or one for all."
            )
        if not (t.is_floating_point() or t.is_complex()):
            raise ShapeError(
                f"{type(self).__name__}.{method} expects a floating-point or complex tensor, "
                f"got {t.dtype}; convert it with .float()."
            )
        if self._single is not None and t.dtype in (torch.float64, torch.complex128):
            raise ShapeError(
                f"{type(self).__name__}.{method}: {t.dtype} through an operator of {self._single} "
                "would keep the digits of the operator alone; take operator.to_like(x) instead."
            )
