"""GMRES for fixed points of affine maps, batched and restarted."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.parameters.bounds import at_least, bounded
from unfold.pytree import batched_norm
from unfold.solvers.fixed_point import AffineSolver, FixedPoint, Flat
from unfold.solvers.result import Stopping, judge, undecided


class _Krylov:
    """An orthonormal basis Q of the Krylov space of I − J at a residual, with (I − J)Q = QH.

    Args:
        z: where the cycle starts.
        Tz: its image.
        size: columns at most.
    """

    def __init__(self, z: Flat, Tz: Flat, size: int) -> None:
        batch, n = z.shape
        self.z, self.Tz, self.k = z, Tz, 0
        self.size = batched_norm(Tz - z)
        self.Q = z.new_zeros(batch, size + 1, n)
        self.Q[:, 0] = _divided(Tz - z, self.size)
        self.H = torch.zeros(batch, size + 1, size, dtype=torch.float64, device=z.device)

    def extend(self, T: Callable[[Flat], Flat]) -> None:
        """One evaluation of T, and one column."""
        q, k, size = self.Q[:, self.k], self.k, self.size[:, None]
        # A step as long as the residual: the difference of images keeps its digits.
        w = q - _divided(T(self.z + size * q) - self.Tz, self.size)
        for _ in range(2):  # once is not enough in floating point
            along = torch.einsum("bkn,bn->bk", self.Q[:, : k + 1], w)
            w = w - torch.einsum("bk,bkn->bn", along, self.Q[:, : k + 1])
            self.H[:, : k + 1, k] += along
        length = batched_norm(w)
        self.H[:, k + 1, k] = length
        # What rounding has left of a vector that was in the space already is no new direction.
        fresh = length > 10 * torch.finfo(w.dtype).eps * self.H[:, : k + 1, k].norm(dim=1)
        self.Q[:, k + 1] = _divided(w, torch.where(fresh, length, 0))
        self.k += 1

    def best(self) -> tuple[Flat, Flat, Tensor]:
        """The point of smallest residual, its image, and how much a residual is amplified at most.

        The singular values are those of (I − J) on the space, hence no smaller than its smallest.
        """
        H = self.H[:, : self.k + 1, : self.k]
        finite = H.isfinite().all(2).all(1)
        H = torch.where(finite[:, None, None], H, 0)
        U, S, V = torch.linalg.svd(H, full_matrices=False)
        # Rounding is no direction: of a map z + b it would make a solution at infinity.
        kept = 10 * torch.finfo(self.Q.dtype).eps * S[:, :1].clamp(min=1) < S
        inverse = torch.where(kept, 1 / torch.where(kept, S, 1), 0)
        y = torch.einsum("bji,bj->bi", V, inverse * U[:, 0]) * self.size.double()[:, None]
        along, change = y.to(self.Q.dtype), torch.einsum("bij,bj->bi", H, y).to(self.Q.dtype)
        z = self.z + torch.einsum("bk,bkn->bn", along, self.Q[:, : self.k])
        residual = self.Tz - self.z - torch.einsum("bk,bkn->bn", change, self.Q[:, : self.k + 1])
        image = torch.where(finite[:, None], z + residual, torch.nan)
        return z, image, inverse.amax(1).to(z.dtype).clamp(min=1)


def _divided(t: Flat, by: Tensor) -> Flat:
    """Each row divided by its number; 0 where that is 0."""
    return torch.where(by > 0, 1 / torch.where(by > 0, by, 1), 0)[:, None] * t


@dataclass(frozen=True)
class GMRES(AffineSolver):
    """z + Qy with y minimising ‖T(z + Qy) − z − Qy‖, Q a basis of the Krylov space; T affine.

    Args:
        restart: evaluations after which the space is built anew, at least 1; each costs the memory
            of one state.

    Source: Saad and Schultz, GMRES: a generalized minimal residual algorithm for solving
    nonsymmetric linear systems, SIAM J. Sci. Stat. Comput. 7 (1986), algorithm 4; with Gram–Schmidt
    twice and a singular value decomposition instead of rotations, which also gives the error.
    """

    restart: int = bounded(30, at_least(1))

    def solve(self, T: Callable[[Flat], Flat], z: Flat, stopping: Stopping) -> FixedPoint:
        best, count, kappa = undecided(z), 0, torch.ones_like(z[:, 0])
        limit = stopping.max_iterations
        while count < limit:
            Tz = T(z)
            count += 1
            best, _ = judge(best, z, Tz, kappa, count, stopping)
            if bool((best.converged | best.diverged).all()):
                break
            space = _Krylov(best.z, best.image, self.restart)
            while space.k < self.restart and count < limit:
                space.extend(T)
                count += 1
                ends = space.k == self.restart or count == limit
                if space.k % stopping.every and not ends:
                    continue
                z, Tz, slope = space.best()
                kappa = torch.maximum(kappa, slope)  # a short new space knows less
                best, _ = judge(best, z, Tz, kappa, count, stopping)
                if bool((best.converged | best.diverged).all()):
                    return best
            z = best.z
        return best
