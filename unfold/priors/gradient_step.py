"""A denoiser that is a gradient step on an explicit function."""

from dataclasses import dataclass

import torch

from unfold.priors.denoiser_prior import DenoiserPrior
from unfold.priors.prior import expect_weight
from unfold.pytree import batched_inner
from unfold.typing import Image, PerImage, Scalar


@dataclass(frozen=True)
class GradientStep(DenoiserPrior):
    """g(x) = ½‖x − N(x, σ)‖² with N a smooth network; D = I − ∇g is the denoiser it is trained as.

    g is not convex. Its prox is replaced by the gradient step v − w∇g(v), D itself at w = 1. The
    gradient is that of the value, by automatic differentiation, and is differentiable.

    Args:
        denoiser: N, a network; a smooth one, so that ∇g is continuous.
        sigma: σ, the level given to N, in units of an image in [0, 1]; acts only where N takes it.
        weights: where the weights of N come from, for the record; None if they are random.

    Source: Hurault, Leclaire and Papadakis, Gradient step denoiser for convergent plug-and-play,
    ICLR 2022, section 3. Their iteration prox_{τf}(x − τλ∇g(x)) is PGD with the two steps in the
    other order.
    """

    provides = frozenset({"prox", "grad", "value"})
    differentiates_network = True

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
