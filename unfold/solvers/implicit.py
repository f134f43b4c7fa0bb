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
    """T(state), whose gradient is that of the fixed point, at any order.

    A gradient that is itself recorded evaluates T once more, at the fixed point as a function of
    what T depends on, and finds w as the fixed point of w ↦ v + Jᵀw, recursively through this
    function.

    Args:
        T: the map; its step at `state` is recorded once and used in the backward solve.
        state: the fixed point; no gradient flows into it.
        solve: finds w = v + Jᵀw, from the map w ↦ v + Jᵀw and the start v.
        report: receives how the backward solve ended.
    """
    start, end = one_step(T, state)
    leaves, outputs = tensors(start), tensors(end)
    theta = _behind(outputs, leaves)
    call = _Call(lambda z: tensors(T(with_tensors(state, z))), solve, report, len(outputs))
    ends = _Implicit.apply(call, leaves, *outputs, *theta)  # type: ignore[no-untyped-call]
    return with_tensors(end, list(ends))


class _Call(NamedTuple):
    """What a backward pass needs besides tensors; `T` maps the tensors of the state."""

    T: Callable[[list[Tensor]], list[Tensor]]
    solve: Adjoint
    report: BackwardReport
    fields: int

    def run(self, products: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
        """w = v + products(w), which is linear: of size 1, no norm in it over- or underflows."""
        size = v.abs().amax(1, keepdim=True)
        size = torch.where((size > 0) & size.isfinite(), size, torch.ones_like(size))
        v = v / size
        end = self.solve(lambda w: v + products(w), v)
        report = self.report
        report.residual, report.error, report.iterations = end.residual, end.error, end.iterations
        report.converged = end.converged
        return end.image * size


def _behind(outputs: list[Tensor], leaves: list[Tensor]) -> list[Tensor]:
    """The tensors that `outputs` were computed from and that take a gradient, but for `leaves`."""
    known = {id(t) for t in leaves}
    found: list[Tensor] = []
    queue: list[Any] = [t.grad_fn for t in outputs if t.grad_fn is not None]
    visited = set(queue)
    for node in queue:
        variable = getattr(node, "variable", None)  # of the node where a gradient accumulates
        if variable is not None and id(variable) not in known:
            known.add(id(variable))
            found.append(variable)
        new = {n for n, _ in node.next_functions if n is not None} - visited
        visited |= new
        queue += new
    return found


class _Implicit(torch.autograd.Function):
    """The identity forward; backward, the cotangent's solve."""

    @staticmethod
    def forward(ctx: Any, call: _Call, leaves: list[Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
        # Only inputs are kept on `ctx`, so that no reference cycle outlives the backward pass.
        ctx.call, ctx.leaves = call, leaves
        ctx.outputs, ctx.theta = inputs[: call.fields], inputs[call.fields :]
        ends = tuple(t.detach() for t in ctx.outputs)
        ctx.save_for_backward(*ends)
        ctx.set_materialize_grads(False)
        return ends

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None) -> tuple[Any, ...]:
        if all(v is None for v in given):  # behind a closed gate, where recording would not end
            return None, None, *(None for _ in (*ctx.outputs, *ctx.theta))
        pairs = zip(given, ctx.outputs, strict=True)
        cotangents = tuple(torch.zeros_like(t) if v is None else v for v, t in pairs)
        with torch.no_grad():
            w = ctx.call.run(
                lambda w: pack(products(ctx.outputs, ctx.leaves, unpack(w, ctx.outputs))),
                pack(cotangents),
            )
        ws = unpack(w, tuple(ctx.outputs))
        if not torch.is_grad_enabled():
            return None, None, *ws, *(None for _ in ctx.theta)
        own = _recorded(ctx.call, ctx.saved_tensors, cotangents, ws, ctx.theta)
        return None, None, *(None for _ in ctx.outputs), *own


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


def _recorded(
    call: _Call,
    ends: Sequence[Tensor],
    cotangents: tuple[Tensor, ...],
    ws: tuple[Tensor, ...],
    theta: Sequence[Tensor],
) -> tuple[Tensor | None, ...]:
    """(∂T/∂θ)ᵀw as a function of θ, of the fixed point, and of the cotangents."""
    gate = _Gate()
    state = [_Gated.apply(gate, t) for t in ends]  # type: ignore[no-untyped-call]
    outputs = call.T(state)

    def transposed(w: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        pairs = zip(cotangents, products(outputs, state, w), strict=True)
        return tuple(v + p for v, p in pairs)

    w = implicit(transposed, ws, call.solve, BackwardReport())
    followed = [i for i, t in enumerate(outputs) if t.requires_grad]
    gate.closed = True
    try:
        return torch.autograd.grad(
            [outputs[i] for i in followed],
            list(theta),
            [w[i] for i in followed],
            create_graph=True,
            allow_unused=True,
        )
    finally:
        gate.closed = False


@dataclass
class _Gate:
    """Whether a derivative stops at the fixed point: w has what comes through it already."""

    closed: bool = False


class _Gated(torch.autograd.Function):
    """The identity, which lets no gradient through while its gate is closed."""

    @staticmethod
    def forward(ctx: Any, gate: _Gate, t: Tensor) -> Tensor:
        ctx.gate = gate
        return t.view_as(t)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[None, Tensor | None]:
        return None, None if ctx.gate.closed else v
