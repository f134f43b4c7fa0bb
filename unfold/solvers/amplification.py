"""How much an iteration amplifies a residual into an error, estimated from its own iterates."""

from functools import lru_cache

import torch
from torch import Tensor

from unfold.pytree import batched_norm
from unfold.random import generator
from unfold.solvers.result import Flat
from unfold.typing import PerImage

SPAN = 20
"""Pairs that are kept. Five miss the slow directions of Broyden's method near contraction 1."""

PLAIN_SPAN = 5
"""The same for plain steps, which become parallel to the slow directions: more are only noise."""

BUCKETS = 512
"""Numbers that stand for a longer row; over 20 directions they change a norm by a fifth at most."""

RIDGE = 1e-13
"""Of a Gram matrix in double precision, relative to its trace: below it is rounding."""

ROUNDING = 0.25
"""Root mean square of the rounding errors of a vector, in units of eps times its norm."""

SQUARINGS = 4
"""tr(Mᵖ)^{1/p} for p = 2⁴ is at most 1.21 times the largest of 20 eigenvalues."""


class Amplification:
    """‖z − z*‖ ≈ κ‖T(z) − z‖, with κ = max_c ‖Σ c_i Δz_i‖ / ‖Σ c_i Δr_i‖ over the last differences.

    r = T(z) − z. For an affine map Δr = (J − I)Δz, so that κ is 1/σ_min(I − J) over the span of the
    steps: a lower bound of ‖(I − J)⁻¹‖, which reaches it where the slow directions, which make the
    error, are combinations of the steps. The largest single ‖Δz‖/‖Δr‖ does not: an accelerated step
    mixes fast and slow directions. The largest κ seen is kept, as each is a lower bound and an
    accelerated iteration leaves the slow directions early. Norms are those of sketches, so that a
    pair costs 1024 numbers.

    Source: Charikar, Chen and Farach-Colton, Finding frequent items in data streams, ICALP 2002,
    section 3, for the sketch; Clarkson and Woodruff, Low-rank approximation and regression in input
    sparsity time, J. ACM 63 (2017), theorem 1.2, for subspaces.
    """

    def __init__(self, z: Flat, span: int = SPAN) -> None:
        batch, n = z.shape
        self.span = span
        self.last: tuple[Flat, Flat] | None = None
        self.k, self.kappa = 0, torch.ones_like(z[:, 0])
        self.unknown = torch.full_like(self.kappa, torch.inf)
        self.signs = _signs(n).to(z.device) if n > BUCKETS else None
        shape = batch, span, min(n, BUCKETS)
        self.moved = torch.zeros(shape, dtype=torch.float64, device=z.device)
        self.changed, self.noise = self.moved.clone(), self.moved[..., 0].clone()

    def after(self, z: Flat, defect: Flat, active: Tensor | None = None) -> PerImage:
        """κ with one pair (z, T(z) − z) more; at least 1, and infinite before two pairs; (B,).

        With `active`, the pair is of the samples at these positions only, and so is κ.
        """
        if active is not None:
            old = self.last or (z.new_zeros(len(self.kappa), z.shape[1]),) * 2
            z, defect = old[0].index_copy(0, active, z), old[1].index_copy(0, active, defect)
        if self.last is not None:
            self._learn(z, z - self.last[0], defect - self.last[1])
        self.last = z, defect
        kappa = self.kappa + self.unknown
        return kappa if active is None else kappa[active]

    def _learn(self, z: Flat, moved: Flat, changed: Flat) -> None:
        size, slot = batched_norm(moved), self.k % self.span
        # What rounding of z and T(z) leaves of a difference must not pass for a slow direction.
        rounding = ROUNDING * torch.finfo(z.dtype).eps * batched_norm(z)
        known = size.isfinite() & batched_norm(changed).isfinite()
        known = known & (size > 2 * self.kappa * rounding)
        chosen, scale = known[:, None], torch.where(known, 1 / torch.where(known, size, 1), 0)
        for pairs, row in ((self.moved, moved), (self.changed, changed)):
            new = self._sketch(torch.where(chosen, scale[:, None] * row, 0))
            pairs[:, slot] = torch.where(chosen, new, pairs[:, slot])
        noise = (scale * rounding).square().to(self.noise)
        self.noise[:, slot] = torch.where(known, noise, self.noise[:, slot])
        self.k += 1
        rows = (t[:, : min(self.k, self.span)] for t in (self.moved, self.changed, self.noise))
        ratio = _largest_ratio(*rows).to(z.dtype)
        kappa = torch.maximum(ratio, self.kappa)
        self.kappa = torch.where(known, kappa, self.kappa)
        self.unknown = torch.where(known, 0, self.unknown)

    def _sketch(self, rows: Flat) -> Tensor:
        """S row, every entry added with a fixed random sign to one of the buckets."""
        if self.signs is None:
            return rows.double()
        signed = rows.double() * self.signs
        padded = torch.nn.functional.pad(signed, (0, -rows.shape[1] % BUCKETS))
        return padded.reshape(len(rows), -1, BUCKETS).sum(1)


@lru_cache(maxsize=8)
def _signs(n: int) -> Tensor:
    return torch.from_numpy(2 * generator("sketch").integers(0, 2, n, dtype="int8") - 1)


def _largest_ratio(a: Tensor, b: Tensor, noise: Tensor) -> PerImage:
    """max_c ‖Σ c_i a_i‖ / (‖Σ c_i b_i‖² + Σ c_i² noise_i)^½, rows (B, m, s); no synchronization."""
    G, H = a @ a.mT, b @ b.mT + torch.diag_embed(noise)
    trace = H.diagonal(dim1=1, dim2=2).sum(1)
    ridge = torch.where(trace > 0, RIDGE * trace, 1)[:, None].expand(H.shape[:2])
    L, failed = torch.linalg.cholesky_ex(H + torch.diag_embed(ridge))
    half = torch.linalg.solve_triangular(L, G, upper=False)
    M = torch.linalg.solve_triangular(L, half.mT, upper=False)
    logarithm = torch.zeros_like(trace)
    for k in range(SQUARINGS + 1):
        size = M.diagonal(dim1=1, dim2=2).sum(1).clamp(min=torch.finfo(M.dtype).tiny)
        logarithm, M = logarithm + size.log() / 2**k, M / size[:, None, None]
        M = M @ M
    ratio = (0.5 * logarithm).exp()
    return torch.where((failed == 0) & ratio.isfinite(), ratio, 1)
