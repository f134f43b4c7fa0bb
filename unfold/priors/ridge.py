"""Priors of learned filters and functions: potentials with a gradient, and shrinkage."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.denoisers.ridge import Potential
from unfold.denoisers.shrinkage import ShrinkageField
from unfold.parameters.bounds import bounded, positive, whole
from unfold.parameters.constraints import nonnegative
from unfold.parameters.declare import param
from unfold.parameters.networks import Each, stages
from unfold.priors.denoiser_priors import DenoiserPrior
from unfold.priors.prior import expect_weight
from unfold.solvers.linear_map import LinearMap
from unfold.typing import DenoiserLevel, Field, Image, PerImage, Scalar


@dataclass(frozen=True)
class LearnedPotential(DenoiserPrior):
    """g(x) = s R(x, σ), s = (ς/ς₀)², a potential; ∇g by its formula, of complex x on both parts.

    R/σ² stands for the negative logarithm of a density of images, against which a measurement of
    noise level ς weighs ½‖Ax − y‖²/ς²: one λ serves all noise levels. The prox is found by
    accelerated gradient descent.

    Args:
        denoiser: R, a potential such as `ConvexRidge`.
        steps: of the descent to the prox, which starts where the prox is taken; None for as many
            as leave 1/20 of the way at the curvature 1 + wL_g, at most 100.
        level: ς; the word `noise_level` is that of each measurement.
        reference: ς₀, the level at which g is R.

    Source: Goujon et al., A neural-network-based convex regularizer for inverse problems, IEEE
    Trans. Comput. Imaging 9 (2023), section II; the momentum is that of Nesterov, Introductory
    lectures on convex optimization (2004), scheme 2.2.11, for a strongly convex function.
    """

    provides = frozenset({"prox", "grad", "value"})
    representations, kind = ("parts",), Potential

    denoiser: Each[Potential]
    steps: int | None = bounded(10, whole(1))
    level: DenoiserLevel = param(1.0, nonnegative, is_level=True)
    reference: float = bounded(1.0, positive)

    def cannot_act(self) -> Mapping[str, str]:
        return {**super().cannot_act(), "level": "λ weighs the potential"}

    @property
    def strength(self) -> Scalar:
        """s; a level of less than a quarter of an 8-bit step counts as that."""
        level = self.level
        least = level.clamp(min=1e-3) if isinstance(level, Tensor) else max(level, 1e-3)
        return (least / self.reference) ** 2

    @property
    def lipschitz(self) -> Scalar:
        return self.strength * self._network.lipschitz(self.sigma)

    @property
    def nonexpansive(self) -> bool:
        return all(one.convex for one in stages(self.denoiser))

    @property
    def descends(self) -> bool:
        """Whether its steps lower an objective, so that they end where its gradient is 0."""
        levels = (one.lipschitz(torch.tensor(0.05)) for one in stages(self.denoiser))
        return all(isinstance(bound, Tensor) for bound in levels)

    @property
    def _bound(self) -> Scalar:
        """L_g, 0 where none is known."""
        found = self.lipschitz
        return found if isinstance(found, Tensor) else 0.0

    def contractive_part(self, v: Image) -> Image:
        """v − (v + ∇g(v))/(1 + L_g), the step of gradient descent on ½‖x‖² + g(x)."""
        return v - (v + self.grad(v)) / (1 + self._bound)

    def prox(self, v: Image, weight: Scalar) -> Image:
        """argmin_x ½‖x − v‖² + wg(x): z⁺ = x − τ(x − v + w∇g(x)), x⁺ = z⁺ + β(z⁺ − z).

        τ = 1/(1 + wL_g), β = (1 − √τ)/(1 + √τ), and both start at v: one step is
        v − τw∇g(v).
        """
        expect_weight(self, weight)
        tau = 1 / (1 + weight * self._bound)
        beta = (1 - tau**0.5) / (1 + tau**0.5)
        x = z = v
        counts = self._steps(tau)
        for step in range(counts if isinstance(counts, int) else int(counts.max())):
            before, new = z, x - tau * (x - v + weight * self.grad(x))
            # Each image has its own number of steps, whatever its batch needs.
            z = new if isinstance(counts, int) else torch.where(step < counts, new, z)
            x = z + beta * (z - before)
        return z

    def _steps(self, tau: Scalar) -> int | Tensor:
        """3/√τ of each image, as each step leaves 1 − √τ of the way."""
        if self.steps is not None:
            return self.steps
        return (3 / torch.as_tensor(tau).detach().sqrt()).ceil().clamp(max=100)

    def value(self, x: Image) -> PerImage:
        images, level, _ = self._network.real_images(x, self.sigma)
        each: PerImage = self._network.value(images, level).reshape(-1, len(x)).sum(0)
        s = self.strength
        return each * (s.flatten() if isinstance(s, Tensor) else s)

    def grad(self, x: Image) -> Image:
        """s ∇R(x, σ)."""
        images, level, back = self._network.real_images(x, self.sigma)
        return self.strength * back(self._network.grad(images, level))

    @property
    def _network(self) -> Potential:
        return self.denoiser  # type: ignore[return-value]  # of this iteration


@dataclass(frozen=True)
class LearnedShrinkage(DenoiserPrior):
    """g = h∘K with learned filters K; learned functions S replace prox_{wh}, and w drops out.

    Args:
        denoiser: K and S, such as `GaussianShrinkage`; its prox is replaced by their D.

    Source: Schmidt and Roth, Shrinkage fields for effective image restoration, CVPR 2014, sec. 3.
    """

    provides = frozenset({"prox", "shrinkage"})
    uses_lambda = False
    representations, kind = ("parts",), ShrinkageField

    denoiser: Each[ShrinkageField]

    def prox(self, v: Image, weight: Scalar) -> Image:
        """D(v); `weight` is not used."""
        expect_weight(self, weight)
        return self.denoise(v)

    @property
    def analysis(self) -> LinearMap:
        network: ShrinkageField = self.denoiser  # type: ignore[assignment]  # of this iteration
        return network.analysis

    def shrink(self, u: Field, weight: Scalar) -> Field:
        """S(u); `weight` is not used."""
        expect_weight(self, weight)
        network: ShrinkageField = self.denoiser  # type: ignore[assignment]  # of this iteration
        return network.shrink(u)
