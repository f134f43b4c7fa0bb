"""The gradient of a fixed point, by the implicit function theorem.

At z* = T(z*, θ), a cotangent v of z* becomes w = v + Jᵀw with J = ∂T/∂z at z*, and the gradient in
θ is (∂T/∂θ)ᵀw.

Source: Bai, Kolter and Koltun, Deep equilibrium models, NeurIPS 2019, theorem 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from unfold.solvers.fixed_point import FixedPoint, pack, unpack
from unfold.tree import tensors, with_tensors

S = TypeVar("S")
Adjoint = Callable[[Callable[[Tensor], Tensor], Tensor], FixedPoint]


@dataclass
class BackwardReport:
    """How the backward solve ended; filled in when the gradient is taken.

    The one mutable record here: PyTorch runs the backward pass later and elsewhere.
    """

    residual: Tensor | None = None
    iterations: Tensor | None = None
    converged: Tensor | None = None


def one_step(T: Callable[[S], S], state: S) -> tuple[S, S]:
    """One recorded step from `state`: (leaves, T(leaves))."""
    leaves = [t.detach().requires_grad_() for t in tensors(state)]
    start = with_tensors(state, leaves)
    with torch.enable_grad():
        return start, T(start)


def implicit(T: Callable[[S], S], state: S, solve: Adjoint, report: BackwardReport) -> S:
    """T(state), whose gradient is that of the fixed point.

    Args:
        T: the map; its step at `state` is recorded once and used in the backward solve.
        state: the fixed point; no gradient flows into it.
        solve: finds w = v + Jᵀw, from the map w ↦ v + Jᵀw and the start v.
        report: receives how the backward solve ended.
    """
    start, end = one_step(T, state)
    outputs = _Implicit.apply(  # type: ignore[no-untyped-call]
        tensors(start), solve, report, *tensors(end)
    )
    return with_tensors(end, list(outputs))


class _Implicit(torch.autograd.Function):
    """The identity forward; backward, the cotangent's solve."""

    @staticmethod
    def forward(
        ctx: Any, leaves: list[Tensor], solve: Adjoint, report: BackwardReport, *outputs: Tensor
    ) -> tuple[Tensor, ...]:
        # Only inputs are kept on `ctx`, so that no reference cycle outlives the backward pass.
        ctx.leaves, ctx.solve, ctx.report, ctx.outputs = leaves, solve, report, outputs
        return tuple(t.detach() for t in outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        followed = [t for t in ctx.outputs if t.requires_grad]

        def transposed(w: Tensor) -> Tensor:
            parts = unpack(w, tuple(ctx.outputs))
            kept = [p for p, t in zip(parts, ctx.outputs, strict=True) if t.requires_grad]
            grads = torch.autograd.grad(
                followed, ctx.leaves, kept, retain_graph=True, allow_unused=True
            )
            zeros = [torch.zeros_like(t) for t in ctx.leaves]
            filled = [z if g is None else g for g, z in zip(grads, zeros, strict=True)]
            return pack(tuple(filled))

        v = pack(tuple(cotangents))
        # The solve is linear: of size 1, no norm in it over- or underflows, whatever the loss.
        size = v.abs().amax(1, keepdim=True)
        size = torch.where((size > 0) & size.isfinite(), size, torch.ones_like(size))
        v = v / size
        end = ctx.solve(lambda w: v + transposed(w), v)
        ctx.report.residual, ctx.report.iterations = end.residual, end.iterations
        ctx.report.converged = end.converged
        return None, None, None, *unpack(end.image * size, tuple(ctx.outputs))
