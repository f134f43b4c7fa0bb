"""A mask of columns whose probabilities are learned with the reconstruction."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from unfold.errors import ConfigError, ShapeError
from unfold.parameters.bounds import at_least, bounded, inside, whole
from unfold.parameters.constraints import real
from unfold.parameters.declare import Learnable
from unfold.physics.mri.masks import Masks
from unfold.random import Draws


@dataclass(frozen=True)
class LearnedColumns(Masks):
    """m_j ~ Bernoulli(p_j) independently, p from logits w, rescaled so that Σ p = W / acceleration.

    q = sigmoid(w), of mean q̄, becomes p = qα/q̄ where q̄ ≥ α, else 1 − (1 − q)(1 − α)/(1 − q̄), α
    the share of the columns outside the centre that is acquired; p = 1 in the centre. In validation
    and test the most probable columns are acquired, as many as W / acceleration.

    Args:
        columns: W of the images, all of one width.
        acceleration: columns over those acquired on average, ≥ 1.
        centre: fraction of the columns around frequency 0 that is always acquired, in (0, 1].
        logits: w, (W,), frequency 0 at index 0; None, before anything is learned, for 0.

    Source: Bahadir, Wang, Dalca and Sabuncu, Deep-learning-based optimization of the under-sampling
    pattern in MRI, IEEE Trans. Computational Imaging 6 (2020), for the rescaled probabilities; Zhang et al., Extending LOUPE for k-space under-sampling pattern optimization in
    multi-coil MRI, MLMIR 2020, for binary masks with the derivative of p. Here that is divided by
    p, which keeps its mean: a column that is not acquired has none, as y = m · Fx and A* vanish
    there.
    """

    columns: int = bounded(accepted=whole(1))
    acceleration: float = bounded(4.0, at_least(1.0), "columns over those acquired")
    centre: float = bounded(0.08, inside("(0, 1]"))
    logits: Tensor | None = field(default=None, repr=False, kw_only=True, compare=False)

    is_deterministic = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.centre * self.acceleration <= 1:
            raise ConfigError(
                f"LearnedColumns.centre = {self.centre}: must be in (0, {1 / self.acceleration:.4g}"
                f"], the fraction of columns that an acceleration of {self.acceleration:g} acquires."
            )

    @property
    def start(self) -> Tensor:
        """w of equal probabilities."""
        return torch.zeros(self.columns, dtype=torch.float64)

    def probabilities(self, like: Tensor) -> Tensor:
        """p, (W,)."""
        w = self.start if self.logits is None else self.logits
        q = w.to(like).sigmoid()
        inner, total = self._counts
        outside = torch.ones_like(q).index_fill(0, self._order[:inner].to(q.device), 0)
        count = max(1, self.columns - inner)
        alpha = (total - inner) / count
        mean = ((q * outside).sum() / count).clamp(1e-6, 1 - 1e-6)
        less, more = q * alpha / mean, 1 - (1 - q) * (1 - alpha) / (1 - mean)
        return torch.where(mean >= alpha, less, more) * outside + (1 - outside)

    def sample(self, draws: Draws, height: int, width: int) -> Tensor:
        """(B, 1, 1, W), or (1, 1, 1, W) in validation and test: zeros and ones."""
        if width != self.columns:
            raise ShapeError(
                f"LearnedColumns.columns = {self.columns}: images of {width} columns came; one mask "
                "is learned for one width."
            )
        p = self.probabilities(torch.empty(0, dtype=draws.dtype, device=draws.device))
        if draws.split == "train":
            mask = (draws.uniform("columns", (width,)) < p).to(p)
            # p/p is 1, with the derivative 1/p; the centre has none.
            return (mask * (p / p.detach().clamp(min=1e-30)))[:, None, None]
        near = self._order.to(p.device)
        best = near[p.detach()[near].argsort(descending=True, stable=True)]
        return torch.zeros_like(p).index_fill(0, best[: self._counts[1]], 1)[None, None, None]

    @property
    def _counts(self) -> tuple[int, int]:
        """How many columns the centre has, and how many are acquired."""
        inner = max(1, round(self.centre * self.columns))
        return inner, max(inner, round(self.columns / self.acceleration))

    @property
    def _order(self) -> Tensor:
        """The columns from frequency 0 outwards."""
        return torch.fft.fftfreq(self.columns).abs().argsort(stable=True)


def _start(physics: Any) -> Tensor:
    if not isinstance(physics.mask, LearnedColumns):
        kind = physics.mask if isinstance(physics.mask, str) else type(physics.mask).__name__
        raise ConfigError(
            f"{type(physics).__name__}.mask is {kind}, which has nothing to learn; give one of "
            f"{LearnedColumns.__module__}.LearnedColumns, with the columns of the images"
        )
    return physics.mask.start


def _put(physics: Any, logits: Tensor) -> Any:
    """With the logits where masks are drawn by them; one that is given stays."""
    if not isinstance(physics.mask, LearnedColumns):
        return physics
    return replace(physics, mask=replace(physics.mask, logits=logits))


MASK = Learnable(real, _start, _put, samples=True)
"""How a mask is learned: its logits."""
