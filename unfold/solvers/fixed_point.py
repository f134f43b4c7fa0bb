"""Fixed points z = T(z) of batched maps, each sample stopped independently.

The iteration works on (B, N) real matrices; `pack` and `unpack` take a state there and back. A
sample that has converged is frozen: its answer never depends on the others of its batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor

from unfold.parameters.bounds import Declared, bounded, inside
from unfold.pytree import tensors, with_tensors
from unfold.solvers.amplification import PLAIN_SPAN, SPAN, Amplification
from unfold.solvers.result import FixedPoint as FixedPoint
from unfold.solvers.result import Flat as Flat
from unfold.solvers.result import Stopping, judge, undecided

S = TypeVar("S")


def pack(state: object) -> Flat:
    """The state as one real row per sample."""
    rows = [torch.view_as_real(t) if t.is_complex() else t for t in tensors(state)]
    flat = [t.flatten(1) for t in rows]
    return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)


def unpack(z: Flat, like: S) -> S:
    """The state of which `z` is the packing."""
    held = tensors(like)
    rows = torch.split(z, [t[0].numel() * (1 + t.is_complex()) for t in held], 1)
    return with_tensors(like, list(map(_shaped, rows, held)))


def _shaped(row: Tensor, like: Tensor) -> Tensor:
    if like.is_complex():
        return torch.view_as_complex(row.reshape(*like.shape, 2).contiguous())
    return row.reshape(like.shape)


class Memory(ABC):
    """What an acceleration remembers during one solve; made anew for each."""

    accelerates: ClassVar[bool] = True
    """Whether a proposal may be another than the plain step."""

    @abstractmethod
    def propose(self, z: Flat, Tz: Flat) -> Flat:
        """The next iterate, from the newest pair (z, T(z)) and the remembered ones."""

    @abstractmethod
    def restart(self, which: Tensor) -> None:
        """Forget the history of the samples flagged in `which`."""


@dataclass(frozen=True)
class AffineSolver(Declared, ABC):
    """Finds the fixed point of an affine map, batched, each sample stopped independently."""

    @abstractmethod
    def solve(self, T: Callable[[Flat], Flat], z: Flat, stopping: Stopping) -> FixedPoint:
        """Iterate from `z` until every sample has reached the tolerance.

        Args:
            T: the map, on (B, N).
            z: where to begin.
            stopping: the tolerances and limits.
        """


@dataclass(frozen=True)
class Solver(AffineSolver):
    """Finds the fixed point of any map: how the iteration z⁺ = T(z) is accelerated."""

    @abstractmethod
    def memory_for(self, z: Flat) -> Memory:
        """A fresh memory for a batch like `z`."""

    def solve(self, T: Callable[[Flat], Flat], z: Flat, stopping: Stopping) -> FixedPoint:
        """Iterate from `z` until every sample has reached the tolerance.

        An accelerated proposal whose residual is more than twice the smallest since the last
        restart is taken back: the sample restarts with a plain step from there. A plain step is
        never taken back, so that residuals that have to grow before they fall can do so.
        """
        memory = self.memory_for(z)
        best = undecided(z)
        anchor = _Anchor(z, z, best.residual, plain=torch.ones_like(best.converged))
        amplification = Amplification(z, SPAN if memory.accelerates else PLAIN_SPAN)
        for k in range(stopping.max_iterations):
            Tz = T(z)
            kappa = amplification.after(z, Tz - z)
            best, residual = judge(best, z, Tz, kappa, k + 1, stopping)
            stopped = best.converged | best.diverged
            if k + 1 == stopping.max_iterations:
                break
            if (k + 1) % stopping.every == 0 and bool(stopped.all()):
                break
            if memory.accelerates:
                z, Tz, anchor = anchor.judge(z, Tz, residual)
                memory.restart(anchor.plain)
            z = torch.where(stopped[:, None], best.z, memory.propose(z, Tz))
        return best


class _Anchor(NamedTuple):
    """The iterate of smallest residual since the last restart, and who takes a plain step next."""

    z: Flat
    image: Flat
    residual: Tensor
    plain: Tensor

    def judge(self, z: Flat, Tz: Flat, residual: Tensor) -> tuple[Flat, Flat, "_Anchor"]:
        """The pair to continue from: the new one, or that of the anchor where it diverged."""
        diverged = ~self.plain & ~(residual <= 2 * self.residual)
        taken = self.plain | (residual < self.residual)
        moved = _Anchor(
            z=torch.where(taken[:, None], z, self.z),
            image=torch.where(taken[:, None], Tz, self.image),
            residual=torch.where(taken, residual, self.residual),
            plain=diverged,
        )
        source = torch.where(diverged[:, None], self.z, z)
        target = torch.where(diverged[:, None], self.image, Tz)
        return source, target, moved


@dataclass(frozen=True)
class Picard(Solver, Memory):
    """z⁺ = (1 − β)z + βT(z), from the newest pair alone.

    Args:
        damping: β in (0, 1]; 1 is the plain iteration.
    """

    accelerates: ClassVar[bool] = False

    damping: float = bounded(1.0, inside("(0, 1]"))

    def memory_for(self, z: Flat) -> Memory:
        return self

    def propose(self, z: Flat, Tz: Flat) -> Flat:
        return Tz if self.damping == 1 else torch.lerp(z, Tz, self.damping)

    def restart(self, which: Tensor) -> None:
        """Nothing is remembered."""


def fixed_point(
    T: Callable[[S], S], start: S, solver: AffineSolver, stopping: Stopping
) -> tuple[S, FixedPoint]:
    """T(z) as a state, for the iterate z of smallest residual, and how the iteration ended."""
    end = solver.solve(lambda z: pack(T(unpack(z, start))), pack(start), stopping)
    return unpack(end.image, start), end
