"""Initial images, computed from the measurement."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from math import prod

import torch
from torch import Tensor, nn

from unfold.errors import ConfigError, IncompatibleError
from unfold.fidelities.fidelity import DataTerm
from unfold.parameters.bounds import at_least, bounded
from unfold.parameters.constraints import positive
from unfold.parameters.declare import Recipe, param
from unfold.physics.algebra import Composed
from unfold.physics.batch import Grouped, Packed
from unfold.physics.blur.padding import ZeroPadding
from unfold.physics.ct.projector import Projector
from unfold.physics.operator import Operator
from unfold.physics.sensing.gaussian import BlockCompressedSensing, BlockMatrix, GaussianSensing
from unfold.physics.wrapped import Wrapped
from unfold.pytree import batched_norm, per_image
from unfold.random import generator
from unfold.typing import Image, Measurement, Scalar


class StartWarning(UserWarning):
    """A reconstruction that starts from another start than that of the training."""


@dataclass(frozen=True)
class Start(Recipe, ABC):
    """The image that every algorithm's initial state is made of."""

    @abstractmethod
    def image(self, f: DataTerm) -> Image:
        """x₀, from the measurement and its operator."""

    def instead(self, A: Operator) -> "Start | None":
        """The start that is declared for an A which this one is not made for; None for itself."""
        return None


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

    weight: Scalar = param(0.02, positive)

    def image(self, f: DataTerm) -> Image:
        A = f.operator.tangent(f.At_y)
        squared = per_image(A.norm_bound.to(f.At_y.device, f.At_y.dtype.to_real()), f.At_y)
        gamma = 1 / (self.weight * squared)
        return gamma * A.solve_normal(f.At_y, gamma, tol=f.solve_tol)


@dataclass(frozen=True)
class OfSome(Start, ABC):
    """A start that is made for some operators.

    Args:
        elsewhere: the start for others, as where a run is evaluated across operators; None to
            refuse them.
    """

    elsewhere: Start | None = field(default_factory=Regularised, kw_only=True)

    @abstractmethod
    def serves(self, A: Operator) -> bool:
        """Whether it is made for A."""

    def instead(self, A: Operator) -> Start | None:
        return None if self.serves(A) else self.elsewhere


@dataclass(frozen=True)
class FilteredBackProjection(OfSome):
    """x₀ = filtered back-projection of y: for tomography along parallel rays or a full fan.

    In a mixture of scans each has its own. It needs all rays: those that are missing would count
    as empty ones, and the filter makes streaks of them.

    Source: Kak and Slaney, Principles of computerized tomographic imaging, 1988, chapter 3.
    """

    def image(self, f: DataTerm) -> Image:
        return _filtered(f.operator, f.y)

    def serves(self, A: Operator) -> bool:
        if isinstance(A, Grouped):
            return all(map(self.serves, A.operators))
        return self.serves(A.operator) if isinstance(A, Packed) else isinstance(A, Projector)


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


MOST_ENTRIES = 2**26
"""Of a matrix that makes an image of a measurement: 256 MiB."""


@dataclass(frozen=True)
class FittedLinear(OfSome):
    """x₀ = Qy, Q = XYᵀ(YYᵀ)⁻¹ of the training images X and their measurements Y, as columns.

    Of operators by blocks, X and Y are those of all blocks. Q is fitted once, before the training,
    and is stored with the weights; until then it is A*.

    Args:
        matrix: Q, (n, m); None until the operator is known.
        probe: Av of one fixed image v, which tells the operator that Q is made for; likewise.

    Source: Zhang and Ghanem, ISTA-Net, CVPR 2018, equation 15.
    """

    matrix: Tensor | None = None
    probe: Tensor | None = None

    def of(self, A: Operator, *, same: bool = True) -> "FittedLinear":
        """The start for an operator, before it is fitted; `same` is whether all images have it."""
        inner = _unit(A)
        n, m = prod(inner.image_shape), prod(inner.measurement_shape)
        if (
            not same
            or inner.batch != 1
            or not A.linear
            or A.complex_measurements
            or n * m > MOST_ENTRIES
        ):
            raise IncompatibleError(
                "{start} needs the same real, linear operator for all images, and at most "
                f"{MOST_ENTRIES} entries of Q: {type(A).__name__} makes {m} numbers of {n}"
                f"{'' if same else ', another one for each image'}. It has none; {{physics}} have "
                "one. Other starts: {others}.",
                start=FittedLinear,
                physics=[BlockCompressedSensing, GaussianSensing],
                others=[BackProjection, Regularised],
            )
        units = torch.eye(m).reshape(m, *inner.measurement_shape)
        back = inner.to_like(units).A_adjoint(units).flatten(1).mT.contiguous()
        return replace(self, matrix=nn.Parameter(back), probe=_probed(A))

    def image(self, f: DataTerm) -> Image:
        if self.matrix is None or not self.serves(f.operator):
            raise ConfigError(
                f"FittedLinear is not made for this {type(f.operator).__name__}: it is fitted to "
                "the operator of the training; start from Regularised instead."
            )
        return assembled(f.operator, readings(f.operator, f.y) @ self.matrix.mT)

    def serves(self, A: Operator) -> bool:
        if self.probe is None or _unit(A).batch != 1 or not A.linear or A.complex_measurements:
            return False
        here = _probed(A).to(self.probe)
        # Equal but for the rounding of another batch, device or precision.
        return here.shape == self.probe.shape and torch.allclose(here, self.probe, 1e-3, 1e-4)


def _unit(A: Operator) -> Operator:
    """What acts on the pieces of an image: on one block, or on the image."""
    if isinstance(A, Composed) and isinstance(A.inner, ZeroPadding):
        return _unit(A.outer)
    return BlockMatrix(A.matrix, (1, A.side, A.side)) if isinstance(A, BlockMatrix) else A


def _probed(A: Operator) -> Tensor:
    inner = _unit(A)
    v = torch.from_numpy(generator("fitted start").standard_normal(inner.image_shape)).float()
    return inner.to_like(v).A(v[None])[0].detach()


def pieces(A: Operator, x: Image) -> Tensor:
    """The pieces of x that are measured independently, (…, n)."""
    if isinstance(A, Composed):
        return pieces(A.outer, A.inner.A(x))
    return A.pieces(x) if isinstance(A, BlockMatrix) else x.flatten(1)


def readings(A: Operator, y: Measurement) -> Tensor:
    """The measurements of the pieces, (…, m)."""
    if isinstance(A, Composed):
        return readings(A.outer, y)
    return A.readings(y) if isinstance(A, BlockMatrix) else y.flatten(1)


def assembled(A: Operator, found: Tensor) -> Image:
    """The image of these pieces."""
    if isinstance(A, Composed):
        return A.inner.A_adjoint(assembled(A.outer, found))
    return A.assembled(found) if isinstance(A, BlockMatrix) else found.reshape(-1, *A.image_shape)


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
