"""Physics: the law that draws an operator and its noise: all the randomness, no algebra."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from unfold.errors import ConfigError
from unfold.physics.noise.base import Moments, Noise
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.typing import Image, Measurement, Shape

P = TypeVar("P", bound="Physics")


class Measured(NamedTuple):
    """What was measured, and through what."""

    y: Measurement
    operator: Operator


@dataclass(frozen=True)
class Physics(ABC):
    """A law over operators, y = A x with noise; a fixed operator is a law with one point.

    Args:
        noise: what is added to, or drawn from, the clean measurement.
    """

    noise: Noise

    @abstractmethod
    def sample(self, draws: Draws, shape: Shape) -> Operator:
        """Draw an operator for images of `shape` (C, H, W), one per image of `draws`.

        Raises:
            ShapeError: the operator cannot act on such images.
        """

    @property
    @abstractmethod
    def is_deterministic(self) -> bool:
        """Whether the law has one point: every draw gives the same operator."""

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """The shape of the image behind a measurement of this shape."""
        return measurement_shape

    def measure(self, x: Image, draws: Draws) -> Measured:
        """Draw the operators and measure the images through them.

        Args:
            x: (B, C, H, W) in [0, 1].
            draws: of the B images; they follow the precision and the device of `x`.
        """
        draws = draws.like(x)
        operator = self.sample(draws.within("operator"), tuple(x.shape[1:]))
        clean = self.observe(operator.A(x))
        return Measured(self.noise.apply(clean, draws.within("noise")), operator)

    def moments(self, clean: Measurement, operator: Operator, draws: Draws) -> Moments | None:
        """Mean and variance of y given v = Ax; None where the noise states none.

        Args:
            clean: v, as a detector sees it.
            operator: A, drawn by `draws`.
            draws: those that measure.
        """
        return self.noise.moments(clean, draws.within("noise"))

    @property
    def supports_sure(self) -> bool:
        """Whether the noise is, as Stein's unbiased risk estimate needs it."""
        return self.noise.supports_sure

    def probe(self, y: Measurement, operator: Operator, draws: Draws) -> Measurement:
        """Normal numbers b with E|b|² = 1, of the kind in which each number of y is measured.

        Args:
            y: the measurement, whose shape b has.
            operator: A, that measured it.
            draws: those of b.
        """
        return replace(draws.like(y), dtype=y.dtype).normal("probe", y.shape[1:])

    def observe(self, v: Measurement) -> Measurement:
        """What a detector sees of v = Ax before the noise: v itself, unless the law says less."""
        return v

    def __call__(self, x: Image) -> Measurement:
        """Measure with the draws of seed 0: a convenience for notebooks."""
        return self.measure(x, Draws(seed=0, images=range(x.shape[0]))).y

    def operator_for(self, y: Measurement) -> Operator:
        """The operator behind a measurement, where the law has one point.

        Raises:
            ConfigError: the law is random, so that the measurement does not tell the operator.
        """
        if not self.is_deterministic:
            raise ConfigError(
                f"{type(self).__name__} is a random law: pass the operator that measured y, "
                "`y, operator = physics.measure(x, draws)`."
            )
        draws = Draws(seed=0, images=range(1)).like(y)
        return self.sample(draws.within("operator"), self.image_shape(tuple(y.shape[1:])))

    def with_noise(self: P, noise: Noise) -> P:
        """The same operators under another noise."""
        return replace(self, noise=noise)
