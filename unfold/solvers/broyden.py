"""Broyden's method with limited memory, batched and safeguarded."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.parameters.bounds import at_least, bounded
from unfold.pytree import batched_inner, batched_norm
from unfold.solvers.fixed_point import Flat, Memory, Solver


class _Updates(Memory):
    """H = −I + Σ u_i v_iᵀ, the inverse of the derivative of T(z) − z, and the newest pair."""

    def __init__(self, z: Flat, memory: int) -> None:
        batch, n = z.shape
        self.k = 0
        self.u, self.v = z.new_zeros(batch, memory, n), z.new_zeros(batch, memory, n)
        self.z, self.defect = torch.zeros_like(z), torch.zeros_like(z)
        self.known = torch.zeros(batch, dtype=torch.bool, device=z.device)

    def restart(self, which: Tensor) -> None:
        self.known = self.known & ~which
        self.u[which], self.v[which] = 0, 0

    def propose(self, z: Flat, Tz: Flat) -> Flat:
        defect = Tz - z
        self._learn(z - self.z, defect - self.defect)
        self.z, self.defect = z, defect
        self.known = torch.ones_like(self.known)
        return z - _apply(self.u, self.v, defect)

    def _learn(self, moved: Flat, changed: Flat) -> None:
        """H⁺ = H + (Δz − HΔg)(HᵀΔz)ᵀ / ⟨Δz, HΔg⟩, so that H⁺Δg = Δz; the oldest update goes."""
        slot = self.k % self.u.shape[1]
        self.k += 1
        self.u[:, slot], self.v[:, slot] = 0, 0
        image = _apply(self.u, self.v, changed)
        inner = batched_inner(moved, image)
        size = batched_norm(moved) * batched_norm(image)
        # Below rounding the two are orthogonal, and the update would be noise.
        sound = self.known & (inner.abs() > torch.finfo(moved.dtype).eps * size)
        sound = sound & inner.isfinite()
        scale = torch.where(sound, 1 / torch.where(sound, inner, 1), 0)[:, None]
        row = _apply(self.v, self.u, moved)
        self.u[:, slot] = torch.where(sound[:, None], scale * (moved - image), 0)
        self.v[:, slot] = torch.where(sound[:, None], row, 0)


def _apply(u: Tensor, v: Tensor, g: Flat) -> Flat:
    """−g + Σ u_i ⟨v_i, g⟩."""
    return torch.einsum("bmn,bm->bn", u, torch.einsum("bmn,bn->bm", v, g)) - g


@dataclass(frozen=True)
class Broyden(Solver):
    """z⁺ = z − H(T(z) − z), with H updated by rank one so that H ΔT(z) − HΔz = Δz.

    Args:
        memory: updates that are kept, at least 1; the oldest is dropped.

    Source: Broyden, A class of methods for solving nonlinear simultaneous equations, Math. Comp. 19
    (1965), method 1; kept as a sum of products as in Bai, Kolter and Koltun, Deep equilibrium
    models, NeurIPS 2019, section 3.1.3.
    """

    memory: int = bounded(10, at_least(1))

    def memory_for(self, z: Flat) -> Memory:
        return _Updates(z, self.memory)
