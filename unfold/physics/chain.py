"""Forward models made of others: one after another, or on the same image."""

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass

from unfold.errors import ConfigError
from unfold.physics.algebra import Composed, Stacked
from unfold.physics.base import Physics, expect_linear_observation
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.typing import Shape


@dataclass(frozen=True)
class CombinedPhysics(Physics, ABC):
    """Every image samples an operator of each component; the noise is added to their result.

    Args:
        noise: of the whole measurement, instead of the noises of the components.
        operators: the components by name, at least one, in the order of the configuration.
    """

    operators: Mapping[str, Physics]

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if not self.operators:
            raise ConfigError(f"{name}.operators = {{}}: at least one physics is needed.")
        for key, physics in self.operators.items():
            expect_linear_observation(f"{name}.operators.{key}", physics)

    @property
    def is_deterministic(self) -> bool:
        return all(physics.is_deterministic for physics in self.operators.values())


@dataclass(frozen=True)
class Chain(CombinedPhysics):
    """y = A_n … A_2 A_1 x with noise: each operator measures the output of the previous one.

    The output of a component must be an image to the next: (C, H, W), and real where it expects so.
    """

    def image_shape(self, measurement_shape: Shape) -> Shape:
        for physics in reversed(tuple(self.operators.values())):
            measurement_shape = physics.image_shape(measurement_shape)
        return measurement_shape

    def sample(self, draws: Draws, shape: Shape) -> Operator:
        product: Operator | None = None
        for name, physics in self.operators.items():
            taken = shape if product is None else product.measurement_shape
            factor = physics.sample(draws.within(name), taken)
            product = factor if product is None else Composed(factor, product)
        assert product is not None
        return product


@dataclass(frozen=True)
class Stack(CombinedPhysics):
    """y = (A_1 x, A_2 x, …) with noise: each operator measures the same image."""

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """Refused: the shares of the components in the measurement are unknown."""
        raise ConfigError(
            "Stack: a real measurement does not tell the shape of the image; reconstruct through "
            "Python, with the operator."
        )

    def sample(self, draws: Draws, shape: Shape) -> Stacked:
        components = self.operators.items()
        return Stacked(tuple(p.sample(draws.within(name), shape) for name, p in components))
