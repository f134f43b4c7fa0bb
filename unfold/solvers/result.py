"""Result of a fixed-point iteration: residual, estimated error, convergence flags."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unfold.pytree import batched_norm
from unfold.typing import PerImage

FORGETTING = 0.9
"""What is left of an old slope after one evaluation: a map that is not affine has others later."""


class Amplification(NamedTuple):
    """‖z − z*‖ ≈ κ‖T(z) − z‖, with κ the largest ‖Δz‖ / ‖ΔT(z) − Δz‖ observed recently.

    For an affine map κ is a lower bound of ‖(I − J)⁻¹‖; the slow directions, which make the error,
    are those that late steps move along.

    z: the newest iterate; (B, N).
    defect: T(z) − z there; (B, N).
    kappa: κ, at least 1; (B,).
    """

    z: Tensor
    defect: Tensor
    kappa: PerImage

    @staticmethod
    def start(z: Tensor, defect: Tensor) -> "Amplification":
        """From the first pair, of which nothing follows yet."""
        return Amplification(z, defect, torch.ones_like(z[:, 0]))

    def after(self, z: Tensor, defect: Tensor) -> "Amplification":
        """With one pair more."""
        moved, changed = batched_norm(z - self.z), batched_norm(defect - self.defect)
        known = moved.isfinite() & changed.isfinite() & (changed > 0)
        slope = torch.where(known, moved / torch.where(known, changed, 1), 0)
        return Amplification(z, defect, torch.maximum(slope, FORGETTING * self.kappa).clamp(min=1))


Flat = Float[Tensor, "batch numel"]


class FixedPoint(NamedTuple):
    """Where an iteration ended, per sample.

    z: the iterate of smallest residual; (B, N).
    image: T(z), already evaluated; (B, N).
    residual: ‖T(z) − z‖ / ‖T(z)‖; infinite where no iterate was finite; (B,).
    error: ‖z − z*‖ / ‖T(z)‖ as estimated from observed slopes of T; (B,).
    iterations: evaluations of T until the sample stopped; (B,).
    converged: whether the residual, and the error where asked, reached the tolerance; (B,).
    diverged: whether the iterates left the finite numbers; (B,).
    """

    z: Flat
    image: Flat
    residual: Tensor
    error: Tensor
    iterations: Tensor
    converged: Tensor
    diverged: Tensor


def undecided(z: Flat) -> FixedPoint:
    """Before the first evaluation."""
    batch = z.shape[0]
    no = torch.zeros(batch, dtype=torch.bool, device=z.device)
    infinite = torch.full((batch,), torch.inf, dtype=z.dtype, device=z.device)
    count = torch.zeros(batch, dtype=torch.long, device=z.device)
    return FixedPoint(z, z, infinite, infinite, count, no, no)


def judge(
    best: FixedPoint, z: Flat, Tz: Flat, kappa: Tensor, count: int, tol: float, accuracy: float
) -> tuple[FixedPoint, Tensor]:
    """Take a new pair into account; also its residuals.

    Args:
        best: what was found before.
        z: the new iterate.
        Tz: its image.
        kappa: the estimated amplification of a residual into an error, (B,).
        count: evaluations of T so far.
        tol: on the residual.
        accuracy: on the estimated error.
    """
    running = ~(best.converged | best.diverged)
    difference, size = batched_norm(Tz - z), batched_norm(Tz)
    finite = difference.isfinite() & size.isfinite()
    # 0/0 is the fixed point 0; the norms are finite here, so inf/inf cannot pass for convergence.
    residual = torch.where(difference == 0, torch.zeros_like(size), difference / size)
    residual = torch.where(finite, residual, torch.full_like(residual, torch.inf))
    better = running & finite & ((residual < best.residual) | best.residual.isinf())
    reached = torch.where(better, residual, best.residual)
    error = torch.where(running & reached.isfinite(), kappa * reached, best.error)
    small = (reached <= tol) & (error <= accuracy)
    updated = FixedPoint(
        z=torch.where(better[:, None], z, best.z),
        image=torch.where(better[:, None], Tz, best.image),
        residual=reached,
        error=error,
        iterations=torch.where(running, torch.full_like(best.iterations, count), best.iterations),
        converged=best.converged | (running & finite & small),
        diverged=best.diverged | (running & ~finite),
    )
    return updated, residual
