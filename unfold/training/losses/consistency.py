"""Losses in the space of measurements: no image is known."""

from dataclasses import dataclass

import torch

from unfold.errors import ConfigError
from unfold.models.model import Solution
from unfold.physics.base import Physics
from unfold.training.losses.base import Loss, Loss0, Trial


@dataclass(frozen=True)
class Consistency(Loss):
    """mean |Ax̂ − y|², over the entries that an image is measured by, and over images.

    Alone it says nothing of what A does not see, and noise is fitted: take it inside of another.
    """

    def value(self, solution: Solution, trial: Trial) -> Loss0:
        error = (trial.observed(solution.image) - trial.y).abs().square()
        return (trial.weights * error).mean()


@dataclass(frozen=True)
class SURE(Loss):
    """mean |h(y) − y|² − v + 2v Re b̄ (h(y + τb) − h(y))/τ, with h(y) = Ax̂(y).

    It is unbiased for mean |h(y) − Ax|², so that noise is not fitted although no image is known: v
    is the variance of every entry of y, that of its noise; b is normal with E|b|² = 1, drawn
    anew for every image and epoch. The derivative by a difference costs a second reconstruction.
    For counts v is estimated from y, and the formula holds to first order in 1/gain.

    Args:
        step: τ > 0, in units of an image in [0, 1].

    Raises:
        ConfigError: the step is not positive.

    Source: Stein, Estimation of the mean of a multivariate normal distribution, Annals of
    Statistics 9 (1981), theorem 1; Ramani, Blu and Unser, Monte-Carlo SURE, IEEE Trans. Image
    Processing 17 (2008), equation 8, for the probe b; Le Montagner, Angelini and Olivo-Marin, An
    unbiased risk estimator for image denoising in the presence of mixed Poisson–Gaussian noise,
    IEEE Trans. Image Processing 23 (2014), for counts.
    """

    step: float = 1e-2

    def __post_init__(self) -> None:
        if not 0 < self.step < float("inf"):
            raise ConfigError(f"SURE.step = {self.step}: must be positive.")

    def expect(self, physics: Physics) -> None:
        if not physics.supports_sure:
            raise ConfigError(
                "loss SURE needs noise that is Gaussian, Poisson or both, and "
                f"{type(physics).__name__} has {type(physics.noise).__name__}: set "
                "physics/noise=gaussian, or take loss=splitting."
            )

    def value(self, solution: Solution, trial: Trial) -> Loss0:
        y, h = trial.y, trial.observed(solution.image)
        moments = trial.physics.moments(y.detach(), trial.operator, trial.draws)
        assert moments is not None  # `expect` has seen to it
        b = trial.physics.probe(y.detach(), trial.operator, trial.own)
        moved = trial.observed(trial.solve(y + self.step * b, trial.operator).image)
        slope = (b.conj() * (moved - h)).real / self.step
        risk = (h - y).abs().square() + moments.variance * (2 * slope - 1)
        return torch.mean(trial.weights * risk)
