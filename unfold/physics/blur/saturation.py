"""Blur before a sensor that saturates: a measurement that is not linear in the image."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.parameters.bounds import bounded, positive
from unfold.physics.blur.blur import KernelPhysics
from unfold.physics.blur.convolution import CircularConvolution
from unfold.physics.nonlinear import NonlinearOperator
from unfold.physics.operator import Operator
from unfold.physics.wrapped import Scaled
from unfold.pytree import same_as
from unfold.random import Draws
from unfold.typing import Image, Measurement, Shape


@dataclass(frozen=True, eq=False)
class Saturated(NonlinearOperator):
    """A(x) = R(g Bx) with R(v) = v − log(1 + exp(a(v − 1)))/a, so that J(x)* = g B* diag R'(g Bx).

    R is near v below 1 and near 1 above, and its slope R'(v) = 1/(1 + exp(a(v − 1))) falls from 1
    to 0 over a few 1/a: what saturates is lost. Before an image is known B replaces A, with the
    slope of a dark image, which is the largest of all images whose Bx has no negative entry.

    Args:
        operator: B, linear, of real images and measurements.
        gain: g > 0, the exposure.
        sharpness: a > 0.
    """

    operator: Operator
    gain: float
    sharpness: float

    image_shape = same_as("operator.image_shape")
    measurement_shape = same_as("operator.measurement_shape")
    batch = same_as("operator.batch")

    def forward(self, x: Image) -> Measurement:
        v = self.gain * self.operator.forward(x)
        zero = torch.zeros_like(v)
        return v - torch.logaddexp(zero, self.sharpness * (v - 1)) / self.sharpness

    def vjp(self, x: Image, u: Measurement) -> Image:
        """g B*(R'(g Bx) · u)."""
        return self.gain * self.operator.adjoint(self.slope(x) * u)

    def jvp(self, x: Image, v: Image) -> Measurement:
        """R'(g Bx) · g Bv."""
        return self.slope(x) * (self.gain * self.operator.forward(v))

    def slope(self, x: Image) -> Measurement:
        return torch.sigmoid(self.sharpness * (1 - self.gain * self.operator.forward(x)))

    def reference(self, like: Tensor) -> Image:
        """A dark image: nothing of it saturates."""
        return torch.zeros_like(super().reference(like))

    def tangent(self, like: Tensor) -> Operator:
        """g R'(0) B."""
        slope = 1 / (1 + math.exp(-self.sharpness))
        scale = torch.full((1,), self.gain * slope, dtype=like.dtype.to_real(), device=like.device)
        return Scaled(self.operator, scale)


@dataclass(frozen=True)
class SaturatedBlur(KernelPhysics):
    """y = R(g h * x) with noise, R the response of a sensor that saturates; periodic boundaries.

    R(v) = v − log(1 + exp(a(v − 1)))/a. The measurement is not linear in the image: it takes an
    algorithm that needs only the gradient of f.

    Args:
        noise: added to what the sensor makes.
        gain: g > 0, the exposure; of an image in [0, 1], what is above 1/g saturates.
        sharpness: a > 0; the sensor leaves its linear range over a few 1/a.

    Source: Whyte, Sivic and Zisserman, Deblurring shaken and partially saturated images, IJCV 110
    (2014), the forward model with saturation and its smooth R. The gain is ours: it stands for the
    exposure, as images are in [0, 1] here.
    """

    gain: float = bounded(1.5, positive)
    sharpness: float = bounded(50.0, positive)

    def sample(self, draws: Draws, shape: Shape) -> Saturated:
        blur = CircularConvolution(self.kernels.sample(draws.within("kernel")), shape)
        return Saturated(blur, self.gain, self.sharpness)
