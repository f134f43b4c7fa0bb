"""What training makes small: `loss`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unfold.models.model import Solution
from unfold.physics.base import Physics
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.typing import Image, Measurement

Loss0 = Float[Tensor, ""]


@dataclass(frozen=True, eq=False)
class Trial:
    """A batch to reconstruct, and what a loss may look at.

    Args:
        y: the measurement.
        operator: A.
        truth: the images behind it; a self-supervised loss leaves them alone.
        physics: the law that measured them.
        draws: with which it did.
        solve: reconstructs a measurement through an operator.
    """

    y: Measurement
    operator: Operator
    truth: Image
    physics: Physics
    draws: Draws
    solve: Callable[[Measurement, Operator], Solution]

    def observed(self, x: Image) -> Measurement:
        """Ax, as a detector sees it, without noise."""
        return self.physics.observe(self.operator.A(x))

    @property
    def weights(self) -> Tensor:
        """n/nᵢ for the nᵢ numbers that image i is measured by, of the n of y, and 0 for the others.

        Where a mixture fills rows up with zeros, the mean of w · e over all of y is the mean over
        images of the mean over what each was measured by. Elsewhere all weights are 1.
        """
        count, device = self.y[0].numel(), self.y.device
        measured = torch.tensor(self.operator.entries, device=device)[:, None]
        real = torch.arange(count, device=device) < measured
        weights = real * (count / measured.to(self.y.dtype.to_real()))
        return weights.reshape(-1, *self.y.shape[1:])

    @property
    def own(self) -> Draws:
        """The draws of the loss, in the precision of y and where it is."""
        return self.draws.within("loss").like(self.y)


class Loss(ABC):
    """A number that training makes small."""

    def expect(self, physics: Physics) -> None:  # noqa: B027
        """Refuse a law that the loss is not made for.

        Raises:
            ConfigError: says which it is made for.
        """

    def reconstruct(self, trial: Trial) -> Solution:
        """The reconstruction that training judges: that of the whole measurement."""
        return trial.solve(trial.y, trial.operator)

    @abstractmethod
    def value(self, solution: Solution, trial: Trial) -> Loss0:
        """The loss of a batch."""


class Supervised(Loss, ABC):
    """Compares a reconstruction with the image behind it."""

    def value(self, solution: Solution, trial: Trial) -> Loss0:
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
