"""A mask of columns whose probabilities are learned with the reconstruction."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from unfold.errors import ShapeError
from unfold.parameters.bounds import at_least, bounded, inside, whole
from unfold.parameters.constraints import real
from unfold.parameters.declare import Learnable
from unfold.physics.mri.masks import Masks
from unfold.random import Draws


@dataclass(frozen=True)
class LearnedColumns(Masks):
    """m_j ~ Bernoulli(p_j) in training; the W / acceleration columns of the largest p elsewhere.

    p = 1 in the centre. Outside, q = sigmoid(w) of mean q̄ becomes p = qα/q̄ where q̄ ≥ α, else
    1 − (1 − q)(1 − α)/(1 − q̄): its mean is the share α that is acquired on average.

    Args:
        columns: W of the images, all of one width.
        acceleration: columns over those acquired, ≥ 1.
        centre: fraction of the columns around frequency 0 that is always acquired, in (0, 1].
        logits: w, (W,), frequency 0 at index 0; None for 0.

    Source: Bahadir, Wang, Dalca and Sabuncu, Deep-learning-based optimization of the under-sampling
    pattern in MRI, IEEE Trans. Computational Imaging 6 (2020); Zhang et al., Extending LOUPE for
    k-space under-sampling pattern optimization in multi-coil MRI, MLMIR 2020, for binary masks with
    the derivative of p. Here it is divided by p, which keeps its mean: columns that are not
    acquired have none, as y = m · Fx and A* vanish there.
    """

    columns: int = bounded(accepted=whole(1))
    acceleration: float = bounded(4.0, at_least(1.0), "columns over those acquired")
    centre: float = bounded(0.08, inside("(0, 1]"))
    logits: Tensor | None = field(default=None, repr=False, kw_only=True, compare=False)

    is_deterministic = False

    def sample(self, draws: Draws, height: int, width: int) -> Tensor:
        """(B, 1, 1, W), or (1, 1, 1, W) in validation and test: zeros and ones."""
        if width != self.columns:
            raise ShapeError(
                f"LearnedColumns.columns = {self.columns}: images have {width}; one mask has one."
            )
        p, order, total = self.probabilities(draws)
        if draws.split != "train":
            best = order[p.detach()[order].argsort(descending=True, stable=True)][:total]
            return torch.zeros_like(p).index_fill(0, best, 1)[None, None, None]
        mask = (draws.uniform("columns", (width,)) < p).to(p)
        return (mask * (p / p.detach().clamp(min=1e-30)))[:, None, None]

    def probabilities(self, draws: Draws) -> tuple[Tensor, Tensor, int]:
        """p, (W,); the columns from frequency 0 outwards; how many are acquired."""
        w = torch.zeros(self.columns) if self.logits is None else self.logits
        q = w.to(draws.device, draws.dtype).sigmoid()
        order = torch.fft.fftfreq(self.columns, device=q.device).abs().argsort(stable=True)
        inner = max(1, round(self.centre * self.columns))
        total, count = max(inner, round(self.columns / self.acceleration)), self.columns - inner
        outside = torch.ones_like(q).index_fill(0, order[:inner], 0)
        alpha = (total - inner) / max(1, count)
        mean = ((q * outside).sum() / max(1, count)).clamp(1e-6, 1 - 1e-6)
        less, more = q * alpha / mean, 1 - (1 - q) * (1 - alpha) / (1 - mean)
        return torch.where(mean >= alpha, less, more) * outside + (1 - outside), order, total


def _start(physics: Any) -> Tensor | None:
    mask = physics.mask
    return torch.zeros(mask.columns) if isinstance(mask, LearnedColumns) else None


def _put(physics: Any, logits: Tensor) -> Any:
    """With the logits where masks are drawn by them; a mask that is given stays."""
    drawn = isinstance(physics.mask, LearnedColumns)
    return replace(physics, mask=replace(physics.mask, logits=logits)) if drawn else physics


MASK = Learnable(real, _start, f"a {LearnedColumns.__module__}.LearnedColumns", _put, samples=True)
