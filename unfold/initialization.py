"""Initial images, computed from the measurement."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from unfold.errors import ConfigError
from unfold.fidelities.fidelity import DataTerm
from unfold.parameters.bounds import Declared, at_least, bounded, positive
from unfold.physics.batch import Grouped, Packed
from unfold.physics.ct.projector import Projector
from unfold.physics.operator import Operator
from unfold.physics.wrapped import Wrapped
from unfold.pytree import batched_norm, per_image
from unfold.random import generator
from unfold.typing import Image, Measurement


@dataclass(frozen=True)
class Start(Declared, ABC):
    """The image that every algorithm's initial state is made of."""

    @abstractmethod
    def image(self, f: DataTerm) -> Image:
        """x₀, from the measurement and its operator."""


@dataclass(frozen=True)
class BackProjection(Start):
    """x₀ = A*y; where A is not linear, J(x̄)* of the linearized data, over ‖J(x̄)‖² or its bound.

    A linear A takes x₀ back from anywhere. One that is not may have no slope far from the images,
    as a sensor that saturates has none where it is too bright: there x₀ is brought near them.
    """

    def image(self, f: DataTerm) -> Image:
        A = f.operator
        if A.linear:
            return f.At_y
        squared = A.norm_bound.to(f.At_y.device, f.At_y.dtype.to_real())
        linear = torch.tensor(A.linear_samples, device=squared.device)
        return f.At_y / per_image(torch.where(linear, 1, squared), f.At_y)


@dataclass(frozen=True)
class Zero(Start):
    """x₀ = 0."""

    def image(self, f: DataTerm) -> Image:
        return torch.zeros_like(f.At_y)


@dataclass(frozen=True)
class Regularised(Start):
    """x₀ = (A*A + εI)⁻¹A*y with ε = weight · ‖A‖²: the Wiener filter of white images and noise.

    It undoes most of a blur at once, where back-projection blurs a second time. Where A is not
    linear, its tangent stands for it.

    Args:
        weight: ε relative to ‖A‖², positive; about the noise's power over the image's.
    """

    weight: float = bounded(0.02, positive)

    def image(self, f: DataTerm) -> Image:
        A = f.operator.tangent(f.At_y)
        squared = per_image(A.norm_bound.to(f.At_y.device, f.At_y.dtype.to_real()), f.At_y)
        gamma = 1 / (self.weight * squared)
        return gamma * A.solve_normal(f.At_y, gamma, tol=f.solve_tol)


@dataclass(frozen=True)
class FilteredBackProjection(Start):
    """x₀ = filtered back-projection of y: for tomography along parallel rays or a full fan.

    In a mixture of scans each has its own. It needs all rays: those that are missing would count
    as empty ones, and the filter makes streaks of them.

    Source: Kak and Slaney, Principles of computerized tomographic imaging, 1988, chapter 3.
    """

    def image(self, f: DataTerm) -> Image:
        return _filtered(f.operator, f.y)


def _filtered(A: Operator, y: Measurement) -> Image:
    """Filtered back-projection of complete scans, also inside a mixture."""
    if isinstance(A, Grouped):
        return A.each(y, lambda own, part, _: _filtered(own, part))
    if isinstance(A, Packed):
        return _filtered(A.operator, A.post_adjoint(y))
    if isinstance(A, Projector):
        return A.filtered_back_projection(y)
    if isinstance(A, Wrapped):
        raise ConfigError(
            f"FilteredBackProjection needs all projections as they were measured, and "
            f"{type(A).__name__} leaves some out or changes them; start from Regularised instead."
        )
    raise ConfigError(
        f"FilteredBackProjection needs projections along rays, and {type(A).__name__} makes none; "
        "use it with Tomography, or start from Regularised."
    )


@dataclass(frozen=True)
class Spectral(Start):
    """x₀ ∥ the leading eigenvector of A* diag(y²) A, with ‖Ax₀‖ = ‖y‖: for amplitudes y = |Ax|.

    Without phases A*y carries little information; with many measurements this image is near the
    truth up to one global phase. It is found by power iterations from the same random image every
    time.

    Args:
        iterations: of the power method, at least 1.

    Source: Candès, Li and Soltanolkotabi, Phase retrieval via Wirtinger flow, IEEE Trans. Inf.
    Theory 61 (2015), algorithm 1, which weighs by intensities as it is done here.
    """

    iterations: int = bounded(50, at_least(1))

    def image(self, f: DataTerm) -> Image:
        A, A_adjoint, weights = f.operator.A, f.operator.A_adjoint, f.y.abs() ** 2
        x = _random_image(f.At_y)
        for _ in range(self.iterations):
            x = _normalised(A_adjoint(weights * A(x)))
        size, wanted = batched_norm(A(x)), batched_norm(f.y)
        tiny = torch.finfo(size.dtype).tiny
        return x * per_image(wanted / size.clamp(min=tiny), x)


def _random_image(like: Image) -> Image:
    """The same Gaussian image for every sample, complex where `like` is."""
    draws = generator("spectral")
    shape = tuple(like.shape[1:])
    numbers = torch.from_numpy(draws.standard_normal(shape) + 1j * draws.standard_normal(shape))
    x = numbers.to(like.device, like.dtype) if like.is_complex() else numbers.real.to(like)
    return _normalised(x.expand_as(like))


def _normalised(x: Image) -> Image:
    """x/‖x‖; an image of zeros stays."""
    tiny = torch.finfo(x.dtype).tiny
    return x / per_image(batched_norm(x).clamp(min=tiny), x)
