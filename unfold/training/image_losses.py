"""Losses of images against the true ones, of all iterations, and weighted sums of losses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from unfold.errors import ConfigError, IncompatibleError, listing
from unfold.evaluation.metrics import magnitude, ssim
from unfold.models.model import Model, Solution
from unfold.models.unfolded import Unfolded
from unfold.parameters.bounds import Range, bounded, nonnegative, positive
from unfold.physics.base import Physics
from unfold.training.losses import MSE, Loss, Loss0, Supervised, Trial
from unfold.typing import Image


@dataclass(frozen=True)
class Charbonnier(Supervised):
    """mean √(|x̂ − x|² + ε²), over pixels, channels and images: |x̂ − x|, smooth at 0.

    Args:
        epsilon: ε, in units of an image in [0, 1].

    Source: Lai, Huang, Ahuja and Yang, Fast and accurate image super-resolution with deep Laplacian
    pyramid networks, IEEE Trans. PAMI 41 (2019), equation 4.
    """

    epsilon: float = bounded(1e-3, positive, "in units of an image in [0, 1]")

    def __call__(self, reconstruction: Image, truth: Image) -> Loss0:
        return ((reconstruction - truth).abs().square() + self.epsilon**2).sqrt().mean()


@dataclass(frozen=True)
class LogMSE(Supervised):
    """mean over images of ln(MSE + ε), so that every image counts by its PSNR, not by its error.

    A mixture of operators and noise levels has errors of many magnitudes: where their mean is
    minimized, the easy ones have no weight.

    Args:
        epsilon: ε, in units of the square of an image in [0, 1]; smaller errors stop to count.

    Source: Chen, Chu, Zhang and Sun, Simple baselines for image restoration, ECCV 2022, whose loss
    is the PSNR.
    """

    epsilon: float = bounded(1e-5, positive, "in units of the square of an image in [0, 1]")

    def __call__(self, reconstruction: Image, truth: Image) -> Loss0:
        error = (reconstruction - truth).abs().square().flatten(1).mean(1)
        return (error + self.epsilon).log().mean()


@dataclass(frozen=True)
class SSIMLoss(Supervised):
    """1 − SSIM(|x̂|, |x|), the mean over images; sides of 11 pixels or more.

    Args:
        data_range: R, the distance of black and white.

    Source: Zhao, Gallo, Frosio and Kautz, Loss functions for image restoration with neural
    networks, IEEE Trans. Comput. Imaging 3 (2017), equation 7, of the mean over all pixels.
    """

    data_range: float = bounded(1.0, positive, "in units of an image in [0, 1]")

    def __call__(self, reconstruction: Image, truth: Image) -> Loss0:
        return 1 - ssim(magnitude(reconstruction), magnitude(truth), self.data_range).mean()


@dataclass(frozen=True)
class EdgeLoss(Supervised):
    """mean √(|Δx̂ − Δx|² + ε²), Δ the Laplacian of five points, without the border of one pixel.

    Args:
        epsilon: ε, in units of an image in [0, 1].

    Source: Zamir et al., Multi-stage progressive image restoration, CVPR 2021, equation 3; of the
    Laplacian of five points in place of a Gaussian pyramid.
    """

    epsilon: float = bounded(1e-3, positive, "in units of an image in [0, 1]")

    def __call__(self, reconstruction: Image, truth: Image) -> Loss0:
        return Charbonnier(self.epsilon)(_laplacian(reconstruction), _laplacian(truth))


def _laplacian(x: Image) -> Tensor:
    middle = x[..., 1:-1, 1:-1]
    rows = x[..., 2:, 1:-1] + x[..., :-2, 1:-1]
    return rows + x[..., 1:-1, 2:] + x[..., 1:-1, :-2] - 4 * middle


@dataclass(frozen=True)
class OfMagnitudes(Supervised):
    """ℓ(|x̂|, |x|): the phase of complex images is free.

    Args:
        loss: ℓ, a loss of images.
    """

    loss: Supervised = field(default_factory=MSE)

    def __call__(self, reconstruction: Image, truth: Image) -> Loss0:
        return self.loss(magnitude(reconstruction), magnitude(truth))


WORDS = ("uniform", "increasing")
WEIGHTS = Range(
    "uniform, increasing, or numbers that are zero or positive",
    lambda v: v in WORDS or (not isinstance(v, str) and nonnegative.holds(v)),
    WORDS,
)


@dataclass(frozen=True)
class DeepSupervision(Loss):
    """Σ_k w_k ℓ(x_k, x) over the images x_k after iteration k = 1 … K of an unfolded model.

    Args:
        loss: ℓ, a loss of images.
        weights: w; `uniform` is 1/K, `increasing` proportional to k with sum 1; or K numbers.
    """

    loss: Supervised = field(default_factory=MSE)
    weights: Literal["uniform", "increasing"] | tuple[float, ...] = bounded("uniform", WEIGHTS)

    needs_truth = True
    needs_iterates = True

    def check(self, physics: Physics, model: Model) -> None:
        if not isinstance(model, Unfolded):
            raise IncompatibleError(
                "{loss} compares every iteration, and {model} has gradients of its limit only: use "
                "{instead}.",
                loss=DeepSupervision,
                model=type(model),
                instead=Unfolded,
            )
        self.of_iterations(model.iterations)

    def of_iterations(self, count: int) -> tuple[float, ...]:
        """w of `count` iterations."""
        if self.weights == "uniform":
            return (1 / count,) * count
        if self.weights == "increasing":
            return tuple(2 * k / (count * (count + 1)) for k in range(1, count + 1))
        if len(self.weights) != count:
            raise ConfigError(
                f"DeepSupervision.weights = {list(self.weights)}: {len(self.weights)} numbers for "
                f"{count} iterations; give {count}, or uniform or increasing."
            )
        return tuple(map(float, self.weights))

    def value(self, solution: Solution, trial: Trial) -> Loss0:
        truth, (_, *images) = trial.truth, solution.iterates
        assert truth is not None  # see `needs_truth`
        pairs = zip(self.of_iterations(len(images)), images, strict=True)
        return torch.stack([w * self.loss(x, truth) for w, x in pairs if w > 0]).sum()


@dataclass(frozen=True)
class WeightedSum(Loss):
    """Σ_i w_i ℓ_i, of losses that compare the same reconstruction.

    Args:
        terms: ℓ, by names.
        weights: w, by the same names; 1 where a term has none.
    """

    terms: Mapping[str, Loss]
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.terms:
            raise ConfigError("WeightedSum.terms: no loss; add one, +loss@loss.terms.NAME=mse.")
        if unknown := self.weights.keys() - self.terms.keys():
            raise ConfigError(
                f"WeightedSum.weights: no term {listing(unknown)}; there are {listing(self.terms)}."
            )
        for name, weight in self.weights.items():
            if not nonnegative.holds(weight):
                raise ConfigError(f"WeightedSum.weights.{name} = {weight}: must be 0 or positive.")
        if len(self._own) > 1:
            raise ConfigError(
                f"WeightedSum.terms: {listing(self._own)} reconstruct from a part of the "
                "measurement each; keep one of them."
            )

    @property
    def _own(self) -> list[str]:
        """The terms that reconstruct from something else than the full measurement."""
        kinds = {name: type(term) for name, term in self.terms.items()}
        return [name for name, kind in kinds.items() if kind.reconstruct is not Loss.reconstruct]

    @property
    def needs_truth(self) -> bool:
        return any(term.needs_truth for term in self.terms.values())

    @property
    def needs_iterates(self) -> bool:
        return any(term.needs_iterates for term in self.terms.values())

    def check(self, physics: Physics, model: Model) -> None:
        for term in self.terms.values():
            term.check(physics, model)

    def reconstruct(self, trial: Trial) -> Solution:
        names = self._own or list(self.terms)
        return self.terms[names[0]].reconstruct(trial)

    def value(self, solution: Solution, trial: Trial) -> Loss0:
        values = (
            self.weights.get(name, 1.0) * term.value(solution, trial)
            for name, term in self.terms.items()
        )
        return torch.stack(list(values)).sum()
