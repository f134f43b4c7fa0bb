"""Where an iteration starts: an image made from the measurement alone."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from unfold.errors import ConfigError
from unfold.fidelities.fidelity import DataTerm
from unfold.tree import per_image
from unfold.typing import Image


class Start(ABC):
    """The image that every algorithm's initial state is made of."""

    @abstractmethod
    def image(self, f: DataTerm) -> Image:
        """x₀, from the measurement and its operator."""


@dataclass(frozen=True)
class BackProjection(Start):
    """x₀ = A*y."""

    def image(self, f: DataTerm) -> Image:
        return f.At_y


@dataclass(frozen=True)
class Regularised(Start):
    """x₀ = (A*A + εI)⁻¹A*y with ε = weight · ‖A‖²: the Wiener filter of white images and noise.

    It undoes most of a blur at once, where back-projection blurs a second time.

    Args:
        weight: ε relative to ‖A‖², positive; about the noise's power over the image's.
    """

    weight: float = 0.05

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ConfigError(f"Regularised.weight = {self.weight}: must be positive.")

    def image(self, f: DataTerm) -> Image:
        squared = per_image(
            f.operator.norm_squared.to(f.At_y.device, f.At_y.dtype.to_real()), f.At_y
        )
        gamma = 1 / (self.weight * squared)
        return gamma * f.operator.solve_normal(f.At_y, gamma)
