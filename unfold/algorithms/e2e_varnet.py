"""The end-to-end variational network."""

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from unfold.algorithms.algorithm import LearnedAlgorithm
from unfold.algorithms.learned_primal_dual import LearnedPrimalDual
from unfold.denoisers.fastmri_unet import FastMRIUNet
from unfold.errors import IncompatibleError
from unfold.parameters.constraints import positive
from unfold.parameters.declare import param
from unfold.parameters.networks import Each
from unfold.physics.mri.cartesian import MultiCoilFourier, MultiCoilMRI, back, transform
from unfold.physics.mri.coils import combine
from unfold.physics.operator import Operator
from unfold.physics.wrapped import RealImages
from unfold.problem import Problem
from unfold.typing import Image, Measurement, Scalar


class E2EVarNetState(NamedTuple):
    """Frequencies, maps and the image.

    x: √Σ_j |F⁻¹k_j|², (B, C, H, W).
    k: of all coils, (B, C, J, H, W).
    maps: S, (B, C, J, H, W).
    """

    x: Image
    k: Measurement
    maps: Tensor


@dataclass(frozen=True)
class E2EVarNet(LearnedAlgorithm[E2EVarNetState]):
    """End-to-end variational network of multi-coil MRI, which estimates the coil maps S itself.

    k⁺ = k − η M(k − y) − F(S · D(Σ_j S̄_j F⁻¹k_j));  x⁺ = √Σ_j |F⁻¹k_j⁺|² is read out.

    M is 1 at the frequencies that are acquired, and k₀ = My. S_j = V(c_j) / √Σ_l |V(c_l)|², with c
    the images of the centre, as far around frequency 0 as all frequencies are acquired. The maps
    of the operator, a fidelity and a prior are not used. The image is a magnitude, of complex
    images too: `loss=magnitude` compares it.

    Args:
        stepsize: η.
        refine: D, or the D_k where `algo.refine` is untied.
        calibration: V, the same for all coils and iterations.

    Source: Sriram et al., End-to-end variational networks for accelerated MRI reconstruction,
    MICCAI 2020, equation 7, with the sign of D in the authors' code: the paper adds it.
    """

    stepsize: Scalar = param(1.0, positive)
    refine: Each[FastMRIUNet] = field(default_factory=FastMRIUNet)
    calibration: FastMRIUNet = field(default_factory=partial(FastMRIUNet, width=8))

    def init(self, problem: Problem) -> E2EVarNetState:
        M = _acquired(problem.f.operator)
        k = M * problem.y
        coils = back(central_block(M) * k)
        found = self.calibration.denoise(coils.reshape(-1, 1, *k.shape[-2:]), 0.0).reshape(k.shape)
        S = found / _root_sum(found).unsqueeze(-3)
        return E2EVarNetState(_root_sum(back(k)).to(problem.start.dtype), k, S)

    def step(self, state: E2EVarNetState, problem: Problem) -> E2EVarNetState:
        (_, k, S), M = state, _acquired(problem.f.operator)
        refined = self.refine.denoise(combine(back(k), S), 0.0)
        k = k - self.stepsize * M * (k - problem.y) - transform(S * refined.unsqueeze(-3))
        return E2EVarNetState(_root_sum(back(k)).to(state.x.dtype), k, S)


def central_block(acquired: Tensor) -> Tensor:
    """The frequencies from −n to n − 1 on each axis, n the largest with which all are acquired.

    Frequency 0 at least; along an axis on which `acquired` has one entry, all.
    """
    rings = []
    for size in acquired.shape[-2:]:
        f = torch.fft.fftfreq(size, 1 / size, device=acquired.device)
        rings.append(torch.where(f < 0, -f, f + 1))
    ring = torch.maximum(rings[0][:, None], rings[1])
    ring[0, 0] = 0
    lacking = torch.where(acquired != 0, torch.inf, ring).amin((-2, -1), keepdim=True)
    return (ring < lacking.clamp(min=0.5)).to(acquired.dtype)


def _root_sum(coils: Tensor) -> Tensor:
    """√Σ_j |c_j|²; its gradient is finite where all are 0."""
    power = (coils.real.square() + coils.imag.square()).sum(-3)
    return power.clamp(min=torch.finfo(power.dtype).tiny).sqrt()


def _acquired(A: Operator) -> Tensor:
    """M, (B or 1, 1, 1, H or 1, W or 1)."""
    inner = A.operator if isinstance(A, RealImages) else A
    if isinstance(inner, MultiCoilFourier):
        return inner.acquired
    raise IncompatibleError(
        f"{{algorithm}} estimates coil maps, and {type(inner).__name__} has no coils on a grid. "
        "Take {physics}, or an algorithm for any operator, such as {others}.",
        algorithm=E2EVarNet,
        physics=[MultiCoilMRI],
        others=[LearnedPrimalDual],
    )
