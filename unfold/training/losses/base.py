"""What training minimizes: `loss`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unfold.models.model import Solution
from unfold.parameters.bounds import Declared
from unfold.physics.base import Physics
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.typing import Image, Measurement

Loss0 = Float[Tensor, ""]


@dataclass(frozen=True, eq=False)
class Trial:
    """A batch to reconstruct, and what a loss may use.

    Args:
        y: the measurement.
        operator: A.
        truth: the images that were measured; self-supervised losses do not use them.
        physics: the forward model.
        draws: of the measurement.
        solve: reconstructs a measurement with an operator.
    """

    y: Measurement
    operator: Operator
    truth: Image
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

    def check(self, physics: Physics) -> None:
        """Refuse a forward model that the loss does not support.

        Raises:
            ConfigError: says what it supports.
        """

    def reconstruct(self, trial: Trial) -> Solution:
        """The reconstruction that is compared: that of the full measurement."""
        return trial.solve(trial.y, trial.operator)

    @abstractmethod
    def value(self, solution: Solution, trial: Trial) -> Loss0:
        """The loss of a batch."""


@dataclass(frozen=True)
class Supervised(Loss, ABC):
    """Compares a reconstruction with the true image."""

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
