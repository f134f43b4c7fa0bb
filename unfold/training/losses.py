"""What training minimizes, with true images or without: `loss`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from unfold.errors import IncompatibleError
from unfold.models.model import Model, Solution
from unfold.parameters.bounds import Declared, bounded, inside, nonnegative, positive, whole
from unfold.physics.base import Physics
from unfold.physics.operator import Operator
from unfold.physics.wrapped import MaskedMeasurement, split
from unfold.random import Draws
from unfold.typing import Image, Measurement

Loss0 = Float[Tensor, ""]


@dataclass(frozen=True, eq=False)
class Trial:
    """A batch to reconstruct, and what a loss may use.

    Args:
        y: the measurement.
        operator: A.
        truth: the images that were measured, where they are known; self-supervised losses do not
            use them.
        physics: the forward model.
        draws: of the measurement.
        solve: reconstructs a measurement with an operator.
    """

    y: Measurement
    operator: Operator
    truth: Image | None
    physics: Physics
    draws: Draws
    solve: Callable[[Measurement, Operator], Solution]

    def observed(self, x: Image) -> Measurement:
        """Ax as the detector measures it, without noise."""
        return self.physics.observe(self.operator.A(x))

    @property
    def weights(self) -> Tensor:
        """n/nᵢ for the nᵢ measured entries of image i, of the n of y, and 0 for the padding.

        Where a mixture pads rows with zeros, the mean of w · e over all of y is the mean over
        images of the mean over their measured entries. Elsewhere all weights are 1.
        """
        count, device = self.y[0].numel(), self.y.device
        measured = torch.tensor(self.operator.entries, device=device)[:, None]
        real = torch.arange(count, device=device) < measured
        weights = real * (count / measured.to(self.y.dtype.to_real()))
        return weights.reshape(-1, *self.y.shape[1:])

    @property
    def own(self) -> Draws:
        """The draws of the loss, in the precision and on the device of y."""
        return self.draws.within("loss").like(self.y)


@dataclass(frozen=True)
class Loss(Declared, ABC):
    """A number that training minimizes."""

    @property
    def needs_truth(self) -> bool:
        """Whether it compares with true images."""
        return False

    @property
    def needs_iterates(self) -> bool:
        """Whether it reads the images of all iterations, with their gradients."""
        return False

    def check(self, physics: Physics, model: Model) -> None:
        """Refuse a forward model, or a model, that the loss does not support."""

    def reconstruct(self, trial: Trial) -> Solution:
        """The reconstruction that is compared: that of the full measurement."""
        return trial.solve(trial.y, trial.operator)

    @abstractmethod
    def value(self, solution: Solution, trial: Trial) -> Loss0:
        """The loss of a batch."""


@dataclass(frozen=True)
class Supervised(Loss, ABC):
    """Compares a reconstruction with the true image."""

    needs_truth = True

    def value(self, solution: Solution, trial: Trial) -> Loss0:
        assert trial.truth is not None  # see `needs_truth`
        return self(solution.image, trial.truth)

    @abstractmethod
    def __call__(self, reconstruction: Image, truth: Image) -> Loss0:
        """The loss of a batch."""


@dataclass(frozen=True)
class MSE(Supervised):
    """mean |x̂ − x|², over pixels, channels and images."""

    def __call__(self, reconstruction: Image, truth: Image) -> Loss0:
        return (reconstruction - truth).abs().square().mean()


@dataclass(frozen=True)
class L1Loss(Supervised):
    """mean |x̂ − x|, over pixels, channels and images."""

    def __call__(self, reconstruction: Image, truth: Image) -> Loss0:
        return (reconstruction - truth).abs().mean()


@dataclass(frozen=True)
class Splitting(Loss):
    """mean of |Ax̂(m · y) − y|² where m = 0, m keeping every measured entry with some probability.

    x̂(m · y) is reconstructed from the entries that are kept, with m · A; it predicts the others,
    whose noise is independent. Validation uses the full measurement. In a mixture of different
    measurements padding has no weight, and an entry weighs inversely to the number of measured
    entries of its image.

    Args:
        keep: the probability, in (0, 1).
        centre: side of the square around frequency 0 that is kept and predicted, of frequencies.

    Source: Yaman et al., Self-supervised learning of physics-guided reconstruction neural networks
    without fully sampled reference data, Magnetic Resonance in Medicine 84 (2020), equation 6, of
    which the mask is drawn uniformly here.
    """

    keep: float = bounded(0.8, inside("(0, 1)"), "the share of the measurement that is used")
    centre: int = bounded(4, whole(0), "in frequencies")

    def reconstruct(self, trial: Trial) -> Solution:
        kept, _ = self._parts(trial)
        return trial.solve(kept * trial.y, MaskedMeasurement(trial.operator, kept))

    def value(self, solution: Solution, trial: Trial) -> Loss0:
        left = trial.weights * self._parts(trial)[1]
        error = (trial.observed(solution.image) - trial.y).abs().square()
        return (left * error).sum() / left.expand_as(error).sum().clamp(min=1)

    def _parts(self, trial: Trial) -> tuple[Tensor, Tensor]:
        return split(trial.operator, trial.y, trial.own, self.keep, self.centre)


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

    Source: Stein, Estimation of the mean of a multivariate normal distribution, Annals of
    Statistics 9 (1981), theorem 1; Ramani, Blu and Unser, Monte-Carlo SURE, IEEE Trans. Image
    Processing 17 (2008), equation 8, for the probe b; Le Montagner, Angelini and Olivo-Marin, An
    unbiased risk estimator for image denoising in the presence of mixed Poisson–Gaussian noise,
    IEEE Trans. Image Processing 23 (2014), for counts.
    """

    step: float = bounded(1e-2, positive, "in units of an image in [0, 1]")

    def check(self, physics: Physics, model: Model) -> None:
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


class Transform(ABC):
    """A random transform to which the distribution of images is invariant."""

    @abstractmethod
    def apply(self, x: Image, draws: Draws) -> Image:
        """The images, each with its own random transform."""


@dataclass(frozen=True)
class Shifts(Transform):
    """Cyclic shifts by whole pixels, uniform over all shifts."""

    def apply(self, x: Image, draws: Draws) -> Image:
        sizes = x.shape[-2:]
        places = _integers(draws, "shift", sizes)
        pairs = zip(x, places.tolist(), strict=True)
        return torch.stack([one.roll((down, right), (-2, -1)) for one, (down, right) in pairs])


@dataclass(frozen=True)
class RotationsAndFlips(Transform):
    """Rotations by multiples of 90°, of 180° where the image is not square, and reflections."""

    def apply(self, x: Image, draws: Draws) -> Image:
        quarters = 1 if x.shape[-2] == x.shape[-1] else 2
        pairs = zip(x, _integers(draws, "turn", (4 // quarters, 2)).tolist(), strict=True)
        turned = [(one.rot90(quarters * turns, (-2, -1)), flip) for one, (turns, flip) in pairs]
        return torch.stack([one.flip(-1) if flip else one for one, flip in turned])


@dataclass(frozen=True)
class Equivariant(Loss):
    """c(x̂, y) + α mean |x̂(A T x̂) − T x̂|², T a transform drawn anew for every image and epoch.

    The second term asks that a transformed reconstruction is recovered from its noiseless
    measurement: the network learns the null space of A, where A is not equivariant to T.

    Args:
        weight: α ≥ 0.
        consistency: c, a loss that needs no images; `SURE` where the noise must not be fitted.
        transform: the distribution of T.

    Source: Chen, Tachella and Davies, Equivariant imaging: learning beyond the range space, ICCV
    2021, equation 8; with SURE: Robust equivariant imaging, CVPR 2022, equation 5.
    """

    weight: float = bounded(1.0, nonnegative)
    consistency: Loss = field(default_factory=Consistency)
    transform: Transform = field(default_factory=Shifts)

    def check(self, physics: Physics, model: Model) -> None:
        self.consistency.check(physics, model)

    def value(self, solution: Solution, trial: Trial) -> Loss0:
        moved = self.transform.apply(solution.image, trial.own.within("motion"))
        second = trial.solve(trial.observed(moved), trial.operator).image
        found = (second - moved).abs().square().mean()
        return self.consistency.value(solution, trial) + self.weight * found


def _integers(draws: Draws, name: str, sizes: tuple[int, ...]) -> Tensor:
    """(B, 2), each uniform below its size."""
    real = draws.like(torch.empty(0))
    return real.each(name, lambda g, _: g.integers(0, tuple(sizes))).long()
