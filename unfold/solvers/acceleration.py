"""Accelerations of a fixed-point iteration, batched and safeguarded."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.parameters.bounds import at_least, bounded, inside, nonnegative
from unfold.pytree import batched_inner, batched_norm
from unfold.solvers.fixed_point import Flat, Memory, Solver


class _History(Memory):
    """The last m pairs, their residuals, and the Gram matrix of these, one new row a step."""

    def __init__(self, z: Flat, m: int, mixing: float, ridge: float) -> None:
        batch, n = z.shape
        self.mixing, self.ridge, self.k = mixing, ridge, 0
        self.z, self.residuals = z.new_zeros(batch, m, n), z.new_zeros(batch, m, n)
        self.gram = torch.zeros(batch, m, m, dtype=torch.float64, device=z.device)
        self.filled = torch.zeros(batch, m, dtype=torch.bool, device=z.device)

    def restart(self, which: Tensor) -> None:
        self.filled = self.filled & ~which[:, None]

    def propose(self, z: Flat, Tz: Flat) -> Flat:
        slot = self.k % self.z.shape[1]
        self.k += 1
        residual = Tz - z
        self.z[:, slot], self.residuals[:, slot] = z, residual
        # Nearly parallel residuals differ in the last digits of their products, which would turn
        # the rounding of another batch size into other weights.
        row = torch.einsum("bmn,bn->bm", self.residuals.double(), residual.double())
        self.gram[:, slot, :], self.gram[:, :, slot] = row, row
        self.filled[:, slot] = True
        weights = self._weights().to(z.dtype)
        mixed = torch.einsum("bm,bmn->bn", weights, self.z)
        return mixed + self.mixing * torch.einsum("bm,bmn->bn", weights, self.residuals)

    def _weights(self) -> Tensor:
        """argmin_α ‖Σ α_i r_i‖² with Σ α_i = 1, over the filled slots."""
        both = self.filled[:, :, None] & self.filled[:, None, :]
        gram = torch.where(both, self.gram, torch.zeros_like(self.gram))
        diagonal = gram.diagonal(dim1=1, dim2=2)
        # Relative to the residuals themselves, so that no scale of the problem changes the mixing.
        ridge = self.ridge * diagonal.sum(1, keepdim=True) / self.filled.sum(1, keepdim=True)
        ones = self.filled.double()
        shift = torch.where(self.filled, ridge, torch.ones_like(diagonal))
        weights, singular = torch.linalg.solve_ex(gram + torch.diag_embed(shift), ones)
        total = weights.sum(1, keepdim=True)
        usable = (singular == 0)[:, None] & total.isfinite() & (total != 0)
        newest = torch.zeros_like(ones)
        newest[:, (self.k - 1) % ones.shape[1]] = 1.0
        return torch.where(
            usable, weights / torch.where(usable, total, torch.ones_like(total)), newest
        )


@dataclass(frozen=True)
class Anderson(Solver):
    """z⁺ = Σ α_i (z_i + β(T(z_i) − z_i)), with α minimising ‖Σ α_i (T(z_i) − z_i)‖, Σ α_i = 1.

    Args:
        memory: how many past pairs are mixed, at least 1.
        mixing: β in (0, 1].
        ridge: added to the normalised Gram matrix; relative, so that scale does not matter.

    Source: Walker and Ni, Anderson acceleration for fixed-point iterations, SINUM 49 (2011).
    """

    memory: int = bounded(5, at_least(1))
    mixing: float = bounded(1.0, inside("(0, 1]"))
    ridge: float = bounded(1e-10, nonnegative)

    def memory_for(self, z: Flat) -> Memory:
        return _History(z, self.memory, self.mixing, self.ridge)


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


class _Momentum(Memory):
    """The last T(z), and the t of its sample: 0 at a restart."""

    def __init__(self, z: Flat) -> None:
        self.x, self.t = z, torch.zeros_like(z[:, 0])

    def restart(self, which: Tensor) -> None:
        self.t = torch.where(which, 0, self.t)

    def propose(self, z: Flat, Tz: Flat) -> Flat:
        moved = Tz - self.x
        t = torch.where(batched_inner(z - Tz, moved) > 0, 0, self.t)
        new = (1 + (1 + 4 * t * t).sqrt()) / 2
        mu = (t - 1).clamp(min=0) / new
        self.x, self.t = Tz, new
        return Tz + mu[:, None] * moved


@dataclass(frozen=True)
class Nesterov(Solver):
    """z⁺ = T(z) + μ(T(z) − T(z₋)), μ = (t − 1)/t⁺, t⁺ = (1 + √(1 + 4t²))/2; t = 0 where it turns.

    With a step of gradient descent for T it is accelerated gradient descent with restart: a sample
    restarts where ⟨z − T(z), T(z) − T(z₋)⟩ > 0, as its momentum then points uphill. Where the
    derivative of T is not symmetric, as of primal–dual methods, momentum may not converge.

    Source: O'Donoghue and Candès, Adaptive restart for accelerated gradient schemes, Found. Comput.
    Math. 15 (2015), section 3.2, gradient scheme.
    """

    def memory_for(self, z: Flat) -> Memory:
        return _Momentum(z)
