"""Losses in measurement space, without true images."""

from dataclasses import dataclass

import torch

from unfold.errors import IncompatibleError
from unfold.models.model import Solution
from unfold.parameters.bounds import bounded, positive
from unfold.physics.base import Physics
from unfold.training.losses.base import Loss, Loss0, Trial
from unfold.training.losses.splitting import Splitting


@dataclass(frozen=True)
class Consistency(Loss):
    """mean |Ax̂ − y|², over the measured entries of an image, and over images.

    It does not constrain the null space of A, and fits noise: use it within another loss.
    """

    def value(self, solution: Solution, trial: Trial) -> Loss0:
        error = (trial.observed(solution.image) - trial.y).abs().square()
        return (trial.weights * error).mean()


@dataclass(frozen=True)
class SURE(Loss):
    """mean |h(y) − y|² − v + 2v Re b̄ (h(y + τb) − h(y))/τ, with h(y) = Ax̂(y).

    It is unbiased for mean |h(y) − Ax|², so that noise is not fitted: v is the variance of every
    entry of y, that of its noise; b is normal with E|b|² = 1, drawn anew for every image and
    epoch. The finite difference costs a second reconstruction. For counts v is estimated from y,
    and the formula holds to first order in 1/gain.

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

    step: float = bounded(1e-2, positive, "in units of an image in [0, 1]")

    def check(self, physics: Physics) -> None:
        if not physics.supports_sure:
            raise IncompatibleError(
                "{loss} needs noise that is Gaussian, Poisson or both, and {physics} has "
                f"{type(physics.noise).__name__}: use Gaussian noise, or {{instead}}.",
                loss=SURE,
                physics=type(physics),
                instead=Splitting,
            )

    def value(self, solution: Solution, trial: Trial) -> Loss0:
        y, h = trial.y, trial.observed(solution.image)
        moments = trial.physics.moments(y.detach(), trial.operator, trial.draws)
        assert moments is not None  # see `check`
        b = trial.physics.probe(y.detach(), trial.operator, trial.own)
        moved = trial.observed(trial.solve(y + self.step * b, trial.operator).image)
        slope = (b.conj() * (moved - h)).real / self.step
        risk = (h - y).abs().square() + moments.variance * (2 * slope - 1)
        return torch.mean(trial.weights * risk)
