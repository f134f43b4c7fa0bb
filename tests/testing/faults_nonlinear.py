"""Faults of maps that are not linear; each is found by a property of its derivative."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch

from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.blur.saturation import Saturated, SaturatedBlur
from unfold.physics.custom.functions import NonlinearFunctionPhysics
from unfold.physics.inpainting import Inpainting, Mask
from unfold.physics.noise.base import NoNoise
from unfold.testing.physics import check_physics
from unfold.testing.report import Report

SMALL, LARGE = ((1, 8, 8),), ((1, 20, 20),)


@dataclass(frozen=True)
class Sensors(Inpainting):
    """A sensor behind a mask, of another kind."""

    kind: type[Saturated] = Saturated

    def sample(self, draws, shape):
        return self.kind(super().sample(draws, shape), 1.4, 6.0)


class AtAnotherPoint(Saturated):
    def vjp(self, x, u):
        return super().vjp(0.99 * x, u)


class MissesTheSlope(Saturated):
    def vjp(self, x, u):
        return self.gain * self.operator.adjoint(u)


class MissesTheGain(Saturated):
    def vjp(self, x, u):
        return super().vjp(x, u) / self.gain


class HoldsTheSlope(Saturated):
    """Right itself, with no derivative in x: training through it would be wrong."""

    def vjp(self, x, u):
        return super().vjp(x.detach(), u)


class HoldsItsParameters(Saturated):
    """No gradient reaches what B is made of through J*."""

    def vjp(self, x, u):
        return Saturated(Mask(self.operator.mask.detach()), self.gain, self.sharpness).vjp(x, u)


class SingleOff(Saturated):
    def vjp(self, x, u):
        return super().vjp(x, u) * (1 + (1e-3 if x.dtype == torch.float32 else 0))


class SeesItsMates(Saturated):
    def vjp(self, x, u):
        return super().vjp(x, u) + 1e-7 * u.mean(0, keepdim=True)


class MakesUpAnAdjoint(Saturated):
    def A_adjoint(self, y):
        return self.operator.A_adjoint(y)


class Widens(Saturated):
    def vjp(self, x, u):
        return super().vjp(x, u).double()


class ToAnotherExposure(Saturated):
    def to_like(self, x):
        return Saturated(self.operator.to_like(x), 0.9 * self.gain, self.sharpness)


class Modifies(Saturated):
    def vjp(self, x, u):
        found = super().vjp(x, u)
        u.mul_(1 + 1e-9)
        return found


class AnyKind(Saturated):
    """Takes complex images for its real ones."""

    def A(self, x):
        self._expect("A", x, self.image_shape)
        return self.forward(x.real)


class ClaimsToBeLinear(Mask):
    """A mask before a sensor, with the adjoint of the mask."""

    def forward(self, x):
        return torch.tanh(super().forward(x))


@dataclass(frozen=True)
class Claimed(Inpainting):
    def sample(self, draws, shape):
        return ClaimsToBeLinear(super().sample(draws, shape).mask)


def cubes(x):
    return x**3


def cubes_vjp(x, u):
    return 3 * x * u


KINDS = (
    *(AtAnotherPoint, MissesTheSlope, MissesTheGain, HoldsTheSlope, HoldsItsParameters, SingleOff),
    *(SeesItsMates, MakesUpAnAdjoint, Widens, ToAnotherExposure, Modifies, AnyKind),
)


def of(kind: type[Saturated]) -> Callable[[], Report]:
    return lambda: check_physics(Sensors(NoNoise(), kind=kind), SMALL)


def quietly(physics: NonlinearFunctionPhysics) -> Report:
    """Without the warning that its derivative is wrong, which the kit is to find by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return check_physics(physics, SMALL)


FAULTS: dict[str, Callable[[], Report]] = {
    **{kind.__name__: of(kind) for kind in KINDS},
    "claims to be linear": lambda: check_physics(Claimed(NoNoise()), SMALL),
    "a wrong vjp of the user": lambda: quietly(
        NonlinearFunctionPhysics(NoNoise(), cubes, cubes_vjp)
    ),
}

SOUND: dict[str, Callable[[], Report]] = {
    "sensors": of(Saturated),
    "saturated blur": lambda: check_physics(
        SaturatedBlur(NoNoise(), GaussianKernel(3, 1.0)), LARGE
    ),
    "cubes": lambda: check_physics(NonlinearFunctionPhysics(NoNoise(), cubes), SMALL),
}
