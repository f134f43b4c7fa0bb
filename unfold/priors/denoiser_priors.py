"""Priors defined by a denoiser: plug-and-play, RED, the score, and the gradient step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from unfold.denoisers.denoiser import Denoiser, Representation
from unfold.errors import ConfigError
from unfold.parameters.constraints import nonnegative, positive
from unfold.parameters.declare import param
from unfold.parameters.networks import Each, PerIteration, stages
from unfold.priors.prior import Prior, expect_weight
from unfold.pytree import batched_inner
from unfold.typing import DenoiserLevel, Image, PerImage, Scalar


@dataclass(frozen=True)
class DenoiserPrior(Prior):
    """A prior that a denoiser D(v, σ) defines.

    Args:
        denoiser: D, a network.
        sigma: σ, the level given to D, in units of an image in [0, 1]; acts only where D takes it.
            The word `noise_level` is that of each measurement.
        weights: where the weights of D come from, for the record; None if they are random.
        representation: the two real images as which D takes a complex one, together where it has
            twice its channels, else one after the other: `parts`, the real and the imaginary part;
            or `magnitude_phase`, the phase as an intensity in [0, 1].
    """

    representations: ClassVar[tuple[Representation, ...]] = ("parts", "magnitude_phase")

    kind: ClassVar[Any] = Denoiser
    """What D is; one that lower precision would make anything else keeps its own."""

    denoiser: Each[Denoiser]
    sigma: DenoiserLevel = param(0.05, nonnegative, is_level=True)
    weights: str | None = None
    representation: Representation = "parts"

    def __post_init__(self) -> None:
        for one in stages(self.denoiser):
            if isinstance(one, Denoiser):
                continue
            raise ConfigError(
                f"{type(self).__name__}.denoiser: {type(one).__name__} is not a denoiser "
                "of unfold; make it a subclass of unfold.denoisers.denoiser.Denoiser with "
                "`channels` and forward(v, sigma)."
            )
        super().__post_init__()
        if self.representation not in self.representations:
            raise ConfigError(
                f"{type(self).__name__}.representation = {self.representation}: it acts on real "
                "and imaginary parts. Set it to parts."
            )

    def cannot_act(self) -> Mapping[str, str]:
        kinds = stages(self.denoiser)
        if any(one.uses_sigma for one in kinds):
            return {}
        return {"sigma": f"{type(kinds[0]).__name__} takes no noise level"}

    def with_denoisers(self, change: Callable[[Denoiser], Denoiser]) -> Prior:
        pairs = [(change(one), one) for one in stages(self.denoiser)]
        changed = [new if isinstance(new, self.kind) else one for new, one in pairs]
        new: Any = PerIteration(changed) if isinstance(self.denoiser, PerIteration) else changed[0]
        return replace(self, denoiser=new)

    def denoise(self, v: Image) -> Image:
        """D(v, σ)."""
        network: Denoiser = self.denoiser  # type: ignore[assignment]  # of this iteration
        return network.denoise(v, self.sigma, self.representation)

    @property
    def penalizes(self) -> bool:
        return any(one.penalizes for one in stages(self.denoiser))

    def penalty(self, v: Image) -> Tensor:
        network: Denoiser = self.denoiser  # type: ignore[assignment]  # of this iteration
        return network.penalty(network.real_images(v, self.sigma, self.representation)[0])

    def contractive_part(self, v: Image) -> Image:
        """The map that an equilibrium needs to be nonexpansive: D."""
        return self.denoise(v)

    @property
    def nonexpansive(self) -> bool:
        """Whether that map is so for all weights."""
        nonexpansive = all(one.nonexpansive for one in stages(self.denoiser))
        return nonexpansive and self.representation == "parts"


@dataclass(frozen=True)
class PnP(DenoiserPrior):
    """prox_{wg}(v) is replaced by D(v, σ); the weight w, and with it λ, drops out.

    Source: Venkatakrishnan, Bouman and Wohlberg, Plug-and-play priors, GlobalSIP 2013.
    """

    provides = frozenset({"prox"})
    uses_lambda = False

    def prox(self, v: Image, weight: Scalar) -> Image:
        """D(v, σ); `weight` is not used."""
        expect_weight(self, weight)
        return self.denoise(v)


@dataclass(frozen=True)
class RED(DenoiserPrior):
    """∇g(x) = x − D(x, σ): images are pulled towards fixed points of the denoiser.

    There is a g with this gradient only where the Jacobian of D is symmetric, which a network does
    not promise, so that no value is claimed.

    Source: Romano, Elad and Milanfar, The little engine that could: regularization by denoising
    (RED), SIAM J. Imaging Sci. 10 (2017), section 3; the claim on g is that of Reehorst and
    Schniter, Regularization by denoising: clarifications and new interpretations, IEEE Trans.
    Comput. Imaging 5 (2019), section III.
    """

    provides = frozenset({"grad"})

    def grad(self, x: Image) -> Image:
        """x − D(x, σ)."""
        return x - self.denoise(x)


@dataclass(frozen=True)
class Score(DenoiserPrior):
    """∇g(x) = −s(x, σ), s(x, σ) = (D(x, σ) − x) / σ²: g is the negative log-density of images.

    s is the gradient of the log-density of images with Gaussian noise of level σ, where D is the
    mean of the images given a noisy one (Tweedie's formula). A trained D comes near to that, so
    that no value is claimed.

    Args:
        sigma: σ > 0, in units of an image in [0, 1]; it acts through 1/σ² in any case.

    Source: Efron, Tweedie's formula and selection bias, J. Am. Stat. Assoc. 106 (2011), section 1;
    Vincent, A connection between score matching and denoising autoencoders, Neural Comput. 23
    (2011).
    """

    provides = frozenset({"grad"})

    sigma: DenoiserLevel = param(0.05, positive, is_level=True)

    def cannot_act(self) -> Mapping[str, str]:
        return {}

    def score(self, x: Image) -> Image:
        """(D(x, σ) − x) / σ²."""
        return (self.denoise(x) - x) / self.sigma**2

    def grad(self, x: Image) -> Image:
        """−s(x, σ)."""
        return -self.score(x)


@dataclass(frozen=True)
class GradientStep(DenoiserPrior):
    """g(x) = ½‖x − N(x, σ)‖² with N a smooth network; D = I − ∇g is the denoiser it is trained as.

    g is not convex. Its prox is replaced by the gradient step v − w∇g(v), D itself at w = 1. The
    gradient is that of the value, by automatic differentiation, and is differentiable.

    Args:
        denoiser: N, a network; a smooth one, so that ∇g is continuous.

    Source: Hurault, Leclaire and Papadakis, Gradient step denoiser for convergent plug-and-play,
    ICLR 2022, section 3. Their iteration prox_{τf}(x − τλ∇g(x)) is PGD with the two steps in the
    other order.
    """

    provides = frozenset({"prox", "grad", "value"})
    nonexpansive = False

    def contractive_part(self, v: Image) -> Image:
        """I − ∇g."""
        return v - self.grad(v)

    def prox(self, v: Image, weight: Scalar) -> Image:
        """v − w∇g(v)."""
        expect_weight(self, weight)
        return v - weight * self.grad(v)

    def value(self, x: Image) -> PerImage:
        r = x - self.denoise(x)
        return 0.5 * batched_inner(r, r)

    def grad(self, x: Image) -> Image:
        """∇g(x) = r − (∂N/∂x)ᵀr, r = x − N(x, σ)."""
        recorded = torch.is_grad_enabled()
        # Validation runs in inference mode, whose tensors record nothing: a copy made outside does.
        with torch.inference_mode(False), torch.enable_grad():
            at = x if recorded and x.requires_grad else x.detach().clone().requires_grad_()
            total = self.value(at).sum()
            (found,) = torch.autograd.grad(total, at, create_graph=recorded)
        return found
