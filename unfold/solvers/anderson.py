"""Anderson acceleration, batched and safeguarded."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unfold.parameters.bounds import at_least, bounded, inside, nonnegative
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
