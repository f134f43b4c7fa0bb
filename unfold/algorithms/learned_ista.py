"""Learned iterative soft thresholding, of coupled weights and of independent ones."""

from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from unfold.algorithms.algorithm import ImageAlgorithm, ImageState, LearnedAlgorithm
from unfold.errors import ConfigError, ShapeError
from unfold.parameters.constraints import Interval, nonnegative, positive
from unfold.parameters.declare import param
from unfold.parameters.networks import Each, Network
from unfold.physics.custom.matrix import Dense
from unfold.physics.operator import Operator
from unfold.problem import Problem
from unfold.pytree import per_image
from unfold.thresholds import soft
from unfold.typing import Image, Measurement, Scalar, Shape


class Weights(Network):
    """W*: from a residual to an image; a learned W is A + Δ, with Δ = 0 at first.

    Args:
        measurements: m, the numbers of a measurement.
        pixels: n, C · H · W of an image.
    """

    def __init__(self, measurements: int = 250, pixels: int = 500) -> None:
        super().__init__()
        self.delta = nn.Parameter(torch.zeros(measurements, pixels))

    def forward(self, r: Measurement, A: Operator) -> Image:
        """A*r + Δᵀr."""
        return A.A_adjoint(r) + self.increment(r, A.image_shape)

    def increment(self, v: Tensor, shape: Shape) -> Image:
        """Δᵀv, images of `shape`."""
        flat = v.flatten(1)
        needed = (flat.shape[1], prod(shape))
        if self.delta.shape != needed:
            raise ShapeError(
                f"Weights.measurements, pixels = {tuple(self.delta.shape)}: this operator needs "
                f"{needed}; set them."
            )
        return (flat @ self.delta.to(v.dtype)).reshape(-1, *shape)


class AnalyticWeights(Network):
    """W* of least ‖W*A‖ with diag W*A = 1: nothing is learned; see `Dense.analytic`."""

    def forward(self, r: Measurement, A: Operator) -> Image:
        """W*r."""
        return analytic(r, A)


class AnalyticStart(Weights):
    """W* + Δᵀ, W analytic and Δ learned, 0 at first."""

    def forward(self, r: Measurement, A: Operator) -> Image:
        """W*r + Δᵀr."""
        return analytic(r, A) + self.increment(r, A.image_shape)


def analytic(r: Measurement, A: Operator) -> Image:
    """W*r, W the analytic weights of A; a `ConfigError` where A has no matrix."""
    if not isinstance(A, Dense):
        raise ConfigError(
            f"AnalyticWeights follow from the matrix of an operator, and {type(A).__name__} has "
            "none; take MatrixPhysics or GaussianSensing, or learn Weights."
        )
    W = A.analytic.to(r.dtype).conj()
    return (r.flatten(1) @ W[0] if len(W) == 1 else (r.flatten(1)[:, None] @ W)[:, 0]).reshape(
        -1, *A.image_shape
    )


@dataclass(frozen=True)
class Thresholding(LearnedAlgorithm[ImageState], ImageAlgorithm):
    """What learned soft thresholding has in common.

    Args:
        threshold: θ.
        support: the share of entries, those of largest modulus, that pass without being shrunk
            where they exceed θ; a schedule raises it from one iteration to the next.
    """

    dead: ClassVar = {"support": "it selects entries, so that it has no gradient"}

    threshold: Scalar = param(0.4, nonnegative, "1/‖A‖²")
    support: Scalar = param(0.0, Interval(0.0, 1.0))

    def shrunk(self, v: Image) -> Image:
        """v where |v| is among the largest and above θ, else soft(v, θ).

        Source: Chen, Liu, Wang and Yin, NeurIPS 2018, section 2.3: support selection.
        """
        theta, size = self.threshold, v.detach().abs()
        pixels = size[0].numel()
        share = self.support * pixels
        count = share.long() if isinstance(share, Tensor) else torch.tensor(int(share))
        if v.device.type == "cpu" and not count:
            return soft(v, theta)
        least = kth_largest(size.flatten(1), count)
        kept = (size >= per_image(least, v)) & (size > theta)
        return torch.where(kept, v, soft(v, theta))


def kth_largest(v: Tensor, k: Tensor) -> Tensor:
    """The k-th largest entry of each row, ∞ for k = 0; k stays on its device."""
    if v.device.type == "cpu":
        return v.kthvalue(1 + v.shape[1] - int(k)).values
    last = (k - 1).clamp(min=0).to(v.device).expand(len(v), 1)
    found = v.sort(descending=True).values.gather(1, last)[:, 0]
    return torch.where(k.to(v.device) > 0, found, torch.inf)


@dataclass(frozen=True)
class CoupledISTA(Thresholding):
    """x⁺ = soft(x − γW*(Ax − y), θ), with support selection: LISTA-CP, -CPSS, TiLISTA and ALISTA.

    Args:
        stepsize: γ.
        weights: W, or the W_k where `algo.weights` is untied.

    Source: Chen, Liu, Wang and Yin, Theoretical linear convergence of unfolded ISTA and its
    practical weights and thresholds, NeurIPS 2018, equations 8 and 12; Liu, Chen, Wang and Yin,
    ALISTA, ICLR 2019, equations 6 and 15. Of a learned W the difference from A is stored.
    """

    stepsize: Scalar = param(1.0, positive, "1/‖A‖²")
    weights: Each[Weights | AnalyticWeights] = field(default_factory=Weights)

    def step(self, state: ImageState, problem: Problem) -> ImageState:
        x, A = state.x, problem.f.operator
        return ImageState(self.shrunk(x - self.stepsize * self.weights(A.A(x) - problem.y, A)))


@dataclass(frozen=True)
class LISTA(Thresholding):
    """x⁺ = soft(W₁y + W₂x, θ), with W₁ = γA* + Δ₁ and W₂ = I − γA*A + Δ₂.

    Args:
        stepsize: γ, of the weights to start from.
        first: Δ₁ᵀ, (m, n).
        second: Δ₂ᵀ, (n, n).

    Source: Gregor and LeCun, Learning fast approximations of sparse coding, ICML 2010, equation 6,
    whose W₁ and W₂ are learned; here their difference from those of A is.
    """

    stepsize: Scalar = param(1.0, positive, "1/‖A‖²")
    first: Each[Weights] = field(default_factory=Weights)
    second: Each[Weights] = field(default_factory=partial(Weights, 500, 500))

    def step(self, state: ImageState, problem: Problem) -> ImageState:
        x, A, y, shape = state.x, problem.f.operator, problem.y, problem.f.operator.image_shape
        classical = x - self.stepsize * A.A_adjoint(A.A(x) - y)
        learned = self.first.increment(y, shape) + self.second.increment(x, shape)
        return ImageState(self.shrunk(classical + learned))
