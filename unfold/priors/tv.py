"""Total variation, isotropic and anisotropic."""

import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from unfold.parameters.bounds import at_least, bounded, positive
from unfold.priors.prior import Prior, expect_weight
from unfold.pytree import batched_norm, per_field, per_image
from unfold.solvers.acceleration import Anderson
from unfold.solvers.fixed_point import FixedPoint
from unfold.solvers.implicit import BackwardReport, implicit
from unfold.solvers.linear_map import LinearMap
from unfold.solvers.result import ConvergenceWarning, Stopping
from unfold.thresholds import root
from unfold.typing import Field, Image, PerImage, Scalar


def gradient(x: Image) -> Field:
    """Dx, (B, 2, C, H, W): forward differences down and to the right, 0 across the last edge."""
    down = pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1))
    right = pad(x[..., :, 1:] - x[..., :, :-1], (0, 1, 0, 0))
    return torch.stack((down, right), dim=1)


def gradient_adjoint(u: Field) -> Image:
    """D*u, minus the divergence."""
    down, right = u[:, 0, :, :-1, :], u[:, 1, :, :, :-1]
    vertical = pad(down, (0, 0, 1, 0)) - pad(down, (0, 0, 0, 1))
    return vertical + pad(right, (1, 0, 0, 0)) - pad(right, (0, 1, 0, 0))


@dataclass(frozen=True)
class Differences(LinearMap):
    """L = D: forward differences down and to the right, 0 across the last edge; ‖D‖² < 8."""

    forward = staticmethod(gradient)

    def adjoint(self, y: Field) -> Image:
        return gradient_adjoint(y)


def squared_length(u: Field) -> Tensor:
    """‖u_i‖² in every pixel, (B, 1, C, H, W); a reduction over an axis of 2 is far slower."""
    down, right = u[:, :1], u[:, 1:]
    if u.is_complex():
        return down.abs() ** 2 + right.abs() ** 2
    return down * down + right * right


@dataclass(frozen=True)
class TotalVariation(Prior):
    """g = h∘D with ‖D‖² < 8 and h a sum of norms over the pixels. Channels are separate.

    The prox is solved on its dual, min_p ½‖v − D*p‖² with p in w times the dual ball of h, by
    accelerated projected gradients, each image to its own duality gap; its gradient is implicit. A
    subclass writes h as `lengths`, and the projection.

    Args:
        tol: relative duality gap at which the prox of an image is accepted.
        max_iterations: of the dual iteration.

    Warns:
        ConvergenceWarning: the prox or its gradient did not get there.

    Source: Beck and Teboulle, Fast gradient-based algorithms for constrained total variation image
    denoising and deblurring problems, TIP 18 (2009), algorithm FGP.
    """

    provides = frozenset({"prox", "value", "analysis", "shrinkage"})
    analysis_norm_squared = 8.0
    analysis = Differences()  # type: ignore[assignment]

    tol: float = bounded(1e-3, positive)
    max_iterations: int = bounded(1000, at_least(1))

    @abstractmethod
    def lengths(self, u: Field) -> Tensor:
        """The norms that h sums, (B, 1 or 2, C, H, W)."""

    def value(self, x: Image) -> PerImage:
        return self.lengths(gradient(x)).flatten(1).sum(1)

    def prox(self, v: Image, weight: Scalar) -> Image:
        """argmin_x w g(x) + ½‖x − v‖², to the relative gap `tol`; x = v − D*p."""
        expect_weight(self, weight)
        with torch.no_grad():
            p = self._dual(v, weight)

        def descend(p: Field) -> Field:
            return self.project(p + 0.125 * gradient(v - gradient_adjoint(p)), weight)

        # The last step is taken in both modes, so that training and evaluation agree bitwise.
        if not torch.is_grad_enabled():
            return v - gradient_adjoint(descend(p))
        return v - gradient_adjoint(implicit(descend, p, self._adjoint_solve, BackwardReport()))

    def _dual(self, v: Image, weight: Scalar) -> Field:
        """The dual field p; every image stops independently."""
        p = torch.zeros_like(gradient(v))
        q, t = p, 1.0
        done = torch.zeros(v.shape[0], dtype=torch.bool, device=v.device)
        for k in range(self.max_iterations):
            new = self.project(q + 0.125 * gradient(v - gradient_adjoint(q)), weight)
            new = torch.where(per_image(done, new), p, new)
            t, previous = (1 + (1 + 4 * t * t) ** 0.5) / 2, t
            q = new + ((previous - 1) / t) * (new - p)
            p = new
            if k % 10 == 9 or k + 1 == self.max_iterations:
                done = done | (self._gap(v, p, weight) <= self.tol)
                if bool(done.all()):
                    return p
        self._warn("its prox", f"{self.max_iterations} iterations", done)
        return p

    def _adjoint_solve(self, transposed: Callable[[Tensor], Tensor], v: Tensor) -> FixedPoint:
        tol, most = 0.1 * self.tol, max(200, self.max_iterations)
        end = Anderson().solve(transposed, v, Stopping(tol=tol, max_iterations=most, every=5))
        if not bool(end.converged.all()):
            self._warn("the gradient of its prox", f"{most} products", end.converged)
        return end

    def _warn(self, what: str, limit: str, done: Tensor) -> None:
        name = type(self).__name__
        warnings.warn(
            f"{name}: {what} did not reach its tolerance for "
            f"{int((~done).sum())} of {len(done)} images within {limit}. Raise "
            f"{name}.max_iterations or {name}.tol, or use AnalysisPDHG, which "
            "needs no prox.",
            ConvergenceWarning,
            stacklevel=2,
        )

    def _gap(self, v: Image, p: Field, weight: Scalar) -> PerImage:
        """The duality gap w‖Dx‖ − ⟨Dx, p⟩ at x = v − D*p, relative to the primal objective."""
        x = v - gradient_adjoint(p)
        d = gradient(x)
        size = self.lengths(d)
        inner = (d * p.conj()).real if p.is_complex() else d * p
        weighted = (per_field(weight, d) * size).flatten(1).sum(1)
        primal = weighted + 0.5 * batched_norm(x - v) ** 2
        gap = weighted - inner.flatten(1).sum(1)
        return gap / primal.clamp(min=torch.finfo(primal.dtype).tiny)


@dataclass(frozen=True)
class TV(TotalVariation):
    """g(x) = Σ ‖(Dx)_i‖₂, isotropic total variation: the same for edges of every direction.

    Source: Rudin, Osher and Fatemi, Nonlinear total variation based noise removal algorithms,
    Physica D 60 (1992).
    """

    def lengths(self, u: Field) -> Tensor:
        return root(squared_length(u))

    def project(self, u: Field, weight: Scalar) -> Field:
        """u_i / max(1, ‖u_i‖ / w)."""
        w = torch.as_tensor(per_field(weight, u), dtype=u.dtype.to_real())
        # The floor makes a weight of 0, and one whose square is 0, project to 0.
        larger = torch.maximum(squared_length(u), (w * w).clamp(min=torch.finfo(w.dtype).tiny))
        return u * (w * larger.rsqrt())


@dataclass(frozen=True)
class AnisotropicTV(TotalVariation):
    """g(x) = Σ |(Dx)_i|₁: edges along the axes cost least, so that corners stay sharp.

    Source: Esedoglu and Osher, Decomposition of images by the anisotropic Rudin–Osher–Fatemi
    model, Comm. Pure Appl. Math. 57 (2004), section 1.
    """

    def lengths(self, u: Field) -> Tensor:
        return u.abs()

    def project(self, u: Field, weight: Scalar) -> Field:
        """u / max(1, |u| / w), entry by entry."""
        w = torch.as_tensor(per_field(weight, u), dtype=u.dtype.to_real())
        return u * (w / torch.maximum(u.abs(), w.clamp(min=torch.finfo(w.dtype).tiny)))
