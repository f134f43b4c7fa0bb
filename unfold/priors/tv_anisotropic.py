"""Anisotropic total variation."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.priors.tv import TotalVariation
from unfold.pytree import per_field
from unfold.typing import Field, Scalar


@dataclass(frozen=True)
class AnisotropicTV(TotalVariation):
    """g(x) = Σ |(Dx)_i|₁: edges along the axes cost least, so that corners stay sharp.

    Args:
        tol: relative duality gap at which the prox of an image is accepted.
        max_iterations: of the dual iteration.

    Source: Esedoglu and Osher, Decomposition of images by the anisotropic Rudin–Osher–Fatemi
    model, Comm. Pure Appl. Math. 57 (2004), section 1.
    """

    def lengths(self, u: Field) -> Tensor:
        return u.abs()

    def project(self, u: Field, weight: Scalar) -> Field:
        """u / max(1, |u| / w), entry by entry."""
        w = torch.as_tensor(per_field(weight, u), dtype=u.dtype.to_real())
        return u * (w / torch.maximum(u.abs(), w.clamp(min=torch.finfo(w.dtype).tiny)))
