"""How far a fixed point is, from what an iteration has seen of its map."""

from typing import NamedTuple

import torch
from torch import Tensor

from unfold.tree import batched_norm
from unfold.typing import PerImage

FORGETTING = 0.9
"""What is left of an old slope after one evaluation: a map that is not affine has others later."""


class Amplification(NamedTuple):
    """‖z − z*‖ ≈ κ‖T(z) − z‖, with κ the largest ‖Δz‖ / ‖ΔT(z) − Δz‖ seen lately.

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
