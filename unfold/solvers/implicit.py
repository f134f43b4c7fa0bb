"""The gradient of a fixed point, by the implicit function theorem.

At z* = T(z*, θ), a cotangent v of z* becomes w = v + Jᵀw with J = ∂T/∂z at z*, and the gradient in
θ is (∂T/∂θ)ᵀw.

Source: Bai, Kolter and Koltun, Deep equilibrium models, NeurIPS 2019, theorem 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unfold.pytree import tensors, with_tensors
from unfold.solvers.fixed_point import FixedPoint, pack, unpack

S = TypeVar("S")
Adjoint = Callable[[Callable[[Tensor], Tensor], Tensor], FixedPoint]


@dataclass
class BackwardReport:
    """How the backward solve ended; filled in when the gradient is taken.

    The one mutable record here: PyTorch runs the backward pass later and elsewhere. Only `forward`
    is known before: the estimated error of the equilibrium that is differentiated, and whether its
    solve `aims_at_tolerance`: a truncated series does not, so that its `converged` has no meaning.
    `error` estimates that of the gradient: of w, and what the equilibrium adds.
    """

    forward: Tensor | None = None
    residual: Tensor | None = None
    error: Tensor | None = None
    iterations: Tensor | None = None
    converged: Tensor | None = None
    aims_at_tolerance: bool = True


def one_step(T: Callable[[S], S], state: S) -> tuple[S, S]:
    """One recorded step from `state`: (leaves, T(leaves))."""
    leaves = [t.detach().requires_grad_() for t in tensors(state)]
    start = with_tensors(state, leaves)
    with torch.enable_grad():
        return start, T(start)


def implicit(T: Callable[[S], S], state: S, solve: Adjoint, report: BackwardReport) -> S:
    """T(state), whose gradient is that of the fixed point; it is not itself differentiable.

    Args:
        T: the map; its step at `state` is recorded once and used in the backward solve.
        state: the fixed point; no gradient flows into it.
        solve: finds w = v + Jᵀw, from the map w ↦ v + Jᵀw and the start v.
        report: receives how the backward solve ended.
    """
    start, end = one_step(T, state)
    call = _Call(tensors(start), solve, report)
    ends = _Implicit.apply(call, *tensors(end))  # type: ignore[no-untyped-call]
    return with_tensors(end, list(ends))


class _Call(NamedTuple):
    """What a backward pass needs besides the outputs of the step, which `leaves` enter."""

    leaves: list[Tensor]
    solve: Adjoint
    report: BackwardReport

    def run(self, outputs: tuple[Tensor, ...], v: Tensor) -> Tensor:
        """w = v + Jᵀw, which is linear: of size 1, no norm in it over- or underflows."""
        size = v.abs().amax(1, keepdim=True)
        size = torch.where((size > 0) & size.isfinite(), size, torch.ones_like(size))
        v = v / size
        end = self.solve(lambda w: v + pack(products(outputs, self.leaves, unpack(w, outputs))), v)
        report = self.report
        report.residual, report.error, report.iterations = end.residual, end.error, end.iterations
        report.converged = end.converged
        return end.image * size


class _Implicit(torch.autograd.Function):
    """The identity forward; backward, the cotangent's solve."""

    @staticmethod
    def forward(ctx: Any, call: _Call, *outputs: Tensor) -> tuple[Tensor, ...]:
        # Only inputs are kept on `ctx`, so that no reference cycle outlives the backward pass.
        ctx.call, ctx.outputs = call, outputs
        return tuple(t.detach() for t in outputs)

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        w = ctx.call.run(ctx.outputs, pack(cotangents))
        return None, *unpack(w, ctx.outputs)


def products(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], ws: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Jᵀw of outputs computed from inputs; recorded where gradients are."""
    followed = [(t, w) for t, w in zip(outputs, ws, strict=True) if t.requires_grad]
    found = torch.autograd.grad(
        [t for t, _ in followed],
        list(inputs),
        [w for _, w in followed],
        retain_graph=True,
        create_graph=torch.is_grad_enabled(),
        allow_unused=True,
    )
    return tuple(
        torch.zeros_like(t) if g is None else g for t, g in zip(inputs, found, strict=True)
    )
