"""Faults of operators and physics that show in one precision, size, kind of image or property.

Each is found by one part of the kit alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unfold.physics.blur.convolution import CircularConvolution
from unfold.physics.denoising import Denoising
from unfold.physics.inpainting import Inpainting, Mask
from unfold.physics.noise.base import Gaussian, NoNoise
from unfold.physics.noise.signal_dependent import Poisson
from unfold.physics.operator import Operator
from unfold.physics.phase.retrieval import PhaseRetrieval
from unfold.testing.physics import DENSE, check_operator, check_physics
from unfold.testing.report import Report, report

SMALL, LARGE = ((1, 8, 8),), ((1, 20, 20),)


class LoudPoisson(Poisson):
    """Half as much again, and a third too bright."""

    def apply(self, clean, draws):
        return clean + 1.5 * (super().apply(clean, draws) - clean) + 0.3


class BiasedGaussian(Gaussian):
    def apply(self, clean, draws):
        return super().apply(clean, draws) + 0.01


@dataclass(frozen=True)
class Masks(Inpainting):
    """Inpainting by another operator."""

    kind: type[Mask] = Mask

    def sample(self, draws, shape):
        return self.kind(super().sample(draws, shape).mask.clone())


def single(t: Tensor) -> bool:
    return t.dtype == torch.float32


class SingleSolveOff(Mask):
    def solve_normal(self, b, gamma, start=None, tol=None):
        return super().solve_normal(b, gamma) * (0.95 if single(b) else 1)


class SingleInverseDoubled(Mask):
    def pseudo_inverse(self, y):
        return super().pseudo_inverse(y) * (2 if single(y) else 1)


class SingleNormHalved(Mask):
    @cached_property
    def norm_squared(self):
        return super().norm_squared * (0.5 if single(self.mask) else 1)


class SingleWidens(Mask):
    def pseudo_inverse(self, y):
        return super().pseudo_inverse(y).double()


class SingleAdjointOff(Mask):
    """By 1e-4, half of it up and half of it down, so that a mean over entries shows little."""

    def adjoint(self, y):
        signs = torch.ones_like(y)
        signs[..., ::2] = -1
        return super().adjoint(y) * (1 + (1e-4 if single(y) else 0) * signs)


class AdjointOff(Mask):
    def adjoint(self, y):
        signs = torch.ones_like(y)
        signs[..., ::2] = -1
        return super().adjoint(y) * (1 + 1e-9 * signs)


class ForgetsImaginary(Mask):
    def adjoint(self, y):
        return super().adjoint(y.conj() if y.is_complex() else y)


class ToAnotherMask(Mask):
    def to_like(self, x):
        return Mask(1 - super().to_like(x).mask)


def large(mask: Tensor) -> bool:
    return mask[0].numel() > DENSE


class LargeNormHalved(Mask):
    @cached_property
    def norm_squared(self):
        return super().norm_squared * (0.5 if large(self.mask) else 1)


class LowBound(Mask):
    @cached_property
    def norm_bound(self):
        return 0.9 * self.norm_squared


class LargeDetached(Mask):
    def forward(self, x):
        return (self.mask.detach() if large(self.mask) else self.mask) * x


class AnyChannels(Mask):
    def _expect(self, method, t, shape):
        super()._expect(method, t[:, :1], shape)


class WholeNumbers(Mask):
    def _expect(self, method, t, shape):
        super()._expect(method, t.double(), shape)


@dataclass(frozen=True)
class DetachedDetector(PhaseRetrieval):
    def observe(self, v):
        return super().observe(v).detach()


@dataclass(frozen=True)
class SeesPhase(PhaseRetrieval):
    def observe(self, v):
        return v.real


def of(kind: type[Mask], shapes: tuple = SMALL) -> Callable[[], Report]:
    return lambda: check_physics(Masks(NoNoise(), kind=kind), shapes)


def operator(made: Operator) -> Report:
    return report(type(made).__name__, check_operator(made, dtype=torch.float32))


FAULTS: dict[str, Callable[[], Report]] = {
    "own Poisson noise too loud": lambda: check_physics(Denoising(LoudPoisson(50.0)), SMALL),
    "own Gaussian noise biased": lambda: check_physics(Denoising(BiasedGaussian(0.1)), SMALL),
    **{
        kind.__name__: of(kind)
        for kind in (
            SingleSolveOff,
            SingleInverseDoubled,
            SingleNormHalved,
            SingleWidens,
            SingleAdjointOff,
            AdjointOff,
            ForgetsImaginary,
            ToAnotherMask,
            LowBound,
            AnyChannels,
            WholeNumbers,
        )
    },
    "LargeNormHalved": of(LargeNormHalved, LARGE),
    "LargeDetached": of(LargeDetached, LARGE),
    "detached detector": lambda: check_physics(_phaseless(DetachedDetector), SMALL),
    "detector of phases": lambda: check_physics(_phaseless(SeesPhase), SMALL),
}

SOUND: dict[str, Callable[[], Report]] = {
    "masks": of(Mask),
    "large masks": of(Mask, LARGE),
    "Poisson": lambda: check_physics(Denoising(Poisson(50.0)), SMALL),
    "Gaussian": lambda: check_physics(Denoising(Gaussian((0.01, 0.1))), SMALL),
    "phaseless": lambda: check_physics(_phaseless(PhaseRetrieval), SMALL),
    "convolution": lambda: operator(CircularConvolution(torch.ones(1, 1, 1, 1), (1, 4, 4))),
}


def _phaseless(kind: type[PhaseRetrieval]) -> PhaseRetrieval:
    return kind(NoNoise())
