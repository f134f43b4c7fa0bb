"""Laws made of laws: one after another, or side by side."""

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass

from unfold.errors import ConfigError
from unfold.physics.algebra import Composed, Stacked
from unfold.physics.base import Physics
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.typing import Shape


@dataclass(frozen=True)
class Combined(Physics, ABC):
    """Laws of which every image draws an operator each; the noise is added to what they make.

    Args:
        noise: of the whole measurement, in place of the noises of the laws.
        laws: by name, at least one, in the order of the configuration.

    Raises:
        ConfigError: there is no law, or one observes less than Ax.
    """

    laws: Mapping[str, Physics]

    def __post_init__(self) -> None:
        name = type(self).__name__
        if not self.laws:
            raise ConfigError(f"{name}.laws = {{}}: at least one law is needed.")
        for key, law in self.laws.items():
            if type(law).observe is not Physics.observe:
                raise ConfigError(
                    f"{name}.laws.{key}: {type(law).__name__} observes less than Ax, so that its "
                    "measurements are not linear in the image; leave it out."
                )

    @property
    def is_deterministic(self) -> bool:
        """Where all laws are."""
        return all(law.is_deterministic for law in self.laws.values())


@dataclass(frozen=True)
class Chain(Combined):
    """y = A_n … A_2 A_1 x with noise: every law measures what the one before it makes.

    What a law makes must be an image to the next: (C, H, W), and real where that expects it.
    """

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """From the last law to the first."""
        for law in reversed(tuple(self.laws.values())):
            measurement_shape = law.image_shape(measurement_shape)
        return measurement_shape

    def sample(self, draws: Draws, shape: Shape) -> Operator:
        """Their product.

        Raises:
            ShapeError: a law cannot act on what the one before it makes.
        """
        whole: Operator | None = None
        for name, law in self.laws.items():
            taken = shape if whole is None else whole.measurement_shape
            own = law.sample(draws.within(name), taken)
            whole = own if whole is None else Composed(own, whole)
        assert whole is not None
        return whole


@dataclass(frozen=True)
class Stack(Combined):
    """y = (A_1 x, A_2 x, …) with noise: every law measures the same image."""

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """Not told by the measurement, of which every law has an unknown part.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "Stack: a real measurement does not tell the shape of the image; reconstruct through "
            "Python, with the operator."
        )

    def sample(self, draws: Draws, shape: Shape) -> Stacked:
        """Side by side.

        Raises:
            ShapeError: a law cannot act on such images.
        """
        laws = self.laws.items()
        return Stacked(tuple(law.sample(draws.within(name), shape) for name, law in laws))
