"""Properties of a nonlinear operator, whose derivative replaces the adjoint.

Images are inside (0, 1), where such an operator must be defined. Every property compares J(x)v and
J(x)*u with another computation: the other mode of differentiation, or differences in float64.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from unfold.errors import ConfigError
from unfold.physics.operator import Operator
from unfold.pytree import batched_inner, batched_norm, tensors
from unfold.testing import operators
from unfold.testing.dense import DOUBLE, gap, largest, measured, probe, single, tolerances
from unfold.testing.report import Check, Finding, NotJudged, holds

LINEAR_ONLY = (
    ("PH1", "A* = Aᴴ"),
    ("PH3", "A(ax + bz) = aAx + bAz"),
    ("PH5", "normal = A*A"),
    ("PH6", "norm_squared ≥ ‖A‖²"),
    ("PH7", "A⁺ obeys Penrose's equations"),
    ("PH8", "solve_normal = dense solve"),
)
"""Properties that only a linear operator can have."""


def check_nonlinear(operator: Operator, *, dtype: torch.dtype = DOUBLE) -> Iterator[Finding]:
    """Check every property of a nonlinear operator, and list those that do not apply.

    Args:
        operator: its tensors in the precision of `dtype`.
        dtype: of the images.
    """
    for id, name in LINEAR_ONLY:
        yield NotJudged(id, name, f"{type(operator).__name__} declares that it is not linear")
    for check in (
        _both_modes,
        _differences,
        _parameters,
        _steps,
        _batch_invariance,
        _kind,
        operators.copies,
        _refused,
    ):
        yield from check(operator, dtype=dtype)


def image(operator: Operator, seed: int, *, dtype: torch.dtype = DOUBLE) -> Tensor:
    """Images with every number, or both parts of it, inside (0.1, 0.9)."""
    count = max(operator.batch, 2)
    g = torch.Generator().manual_seed(seed)
    parts = torch.rand(2, count, *operator.image_shape, generator=g, dtype=dtype.to_real())
    real, imaginary = parts.mul(0.8).add(0.1).unbind()
    return torch.complex(real, imaginary) if dtype.is_complex else real


def _at(operator: Operator, seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """An image, a direction and a measurement."""
    v = probe(operator, seed + 1, dtype=dtype)
    return image(operator, seed, dtype=dtype), v, probe(operator, seed + 2, dtype=dtype, dual=True)


def _relative(a: Tensor, b: Tensor, size: Tensor) -> float:
    """The largest |a − b| / size over the samples."""
    return largest((a - b).abs() / size.clamp(min=torch.finfo(size.dtype).tiny))


def _both_modes(operator: Operator, *, dtype: torch.dtype) -> Iterator[Check]:
    """⟨J(x)v, u⟩ = ⟨v, J(x)*u⟩ at several images, with the derivatives that autograd has of A."""
    tol = tolerances(dtype)
    for seed in (40, 50, 60):
        x, v, u = _at(operator, seed, dtype)
        J = operator.linearize(x)
        Jv, Jtu = J.A(v), operator.vjp(x, u)
        size = batched_norm(Jv) * batched_norm(u)
        error = _relative(batched_inner(Jv, u), batched_inner(v, Jtu), size)
        yield Check("PH14", "⟨J(x)v, u⟩ = ⟨v, J(x)*u⟩", error, tol.adjoint)
        at = x.clone().requires_grad_()
        with torch.enable_grad():
            (pulled,) = torch.autograd.grad(operator.A(at), at, u)
        yield Check("PH14", "vjp = the reverse mode of A", gap(Jtu, pulled), tol.product)
        yield Check("PH14", "linearize(x)* = vjp", gap(J.A_adjoint(u), Jtu), tol.product)


def _differences(operator: Operator, *, dtype: torch.dtype) -> Iterator[Check]:
    """J(x)*u, and its own derivative in x, are those of central differences; in float64."""
    if single(dtype):
        return
    h: float = torch.finfo(dtype).eps ** (1 / 3)
    x, v, u = _at(operator, 70, dtype)

    def slope(f: Callable[[Tensor], Tensor]) -> Tensor:
        return (f(x + h * v) - f(x - h * v)) / (2 * h)

    Jv = slope(operator.A)
    size = batched_norm(Jv) * batched_norm(u)
    error = _relative(batched_inner(Jv, u), batched_inner(v, operator.vjp(x, u)), size)
    yield Check("PH14", "J(x)*u = differences of A", error, tolerances(dtype).parameter)
    want = slope(lambda at: operator.vjp(at, u))
    at = x.clone().requires_grad_()
    w = probe(operator, 73, dtype=dtype)
    with torch.enable_grad():
        value = batched_inner(w, operator.vjp(at, u)).sum()
        found = torch.zeros_like(x)  # where J is the same everywhere
        if value.requires_grad:
            (found,) = torch.autograd.grad(value, at)
    scale = batched_norm(want) * batched_norm(w) + h * batched_norm(operator.vjp(x, u))
    error = _relative(batched_inner(w, want), batched_inner(v, found), scale)
    yield Check(
        "PH14", "the derivative of J(x)*u = differences", error, 10 * tolerances(dtype).parameter
    )


def _parameters(operator: Operator, *, dtype: torch.dtype) -> Iterator[Check]:
    """The derivatives of A(x) and J(x)*u in the operator's tensors are those of differences."""
    if single(dtype):
        return
    own = tensors(operator)
    # Small relative to the tensors, as A is curved in them.
    moves = operators.parameter_moves(operator, 123)
    moves = {i: 0.1 * float(own[i].detach().abs().mean()) * m for i, m in moves.items()}
    values: dict[str, Callable[..., Tensor]] = {
        "A(x)": lambda A, x, v, u: batched_inner(A.A(x), u).sum(),
        "J(x)*u": lambda A, x, v, u: batched_inner(A.vjp(x, u), v).sum(),
    }
    step: float = torch.finfo(dtype).eps ** (1 / 3)
    for name, f in values.items():
        at = _at(operator, 120, dtype)
        for found, want, there in operators.parameter_slopes(operator, f, at, moves):
            error = abs(found - want) / (abs(want) + step * abs(there) or 1.0)
            name = f"derivative of {name} in its parameters"
            yield Check("PH13", name, error, 10 * tolerances(dtype).parameter)


def _steps(operator: Operator, *, dtype: torch.dtype) -> Iterator[Check]:
    """What steps are relative to is (B,), positive, and without a gradient; the start is finite."""
    found = operator.norm_squared
    proper = found.shape == (operator.batch,) and not found.requires_grad
    yield holds("PH6", "norm_squared is (B,), positive", proper and bool((found > 0).all()))
    y = operator.A(image(operator, 80, dtype=dtype))
    finite = bool(operator.back_project(y).isfinite().all())
    yield holds("PH14", "back_project is finite", finite)


def _batch_invariance(operator: Operator, *, dtype: torch.dtype) -> Iterator[Check]:
    """A sample's answers do not depend on the other samples."""
    x, _, u = _at(operator, 90, dtype)
    y, tol = operator.A(x), 10 * tolerances(dtype).batch
    for i in range(len(x)):
        one, part = operator.take(torch.tensor([i]), len(x)), slice(i, i + 1)
        for name, got, want in (
            ("A", one.A(x[part]), y),
            ("vjp", one.vjp(x[part], u[part]), operator.vjp(x, u)),
            ("back_project", one.back_project(y[part]), operator.back_project(y)),
        ):
            yield Check("PH9", f"batch invariance of {name}", gap(got, want[part]), tol)
        shared = operator.norm_squared[min(i, operator.batch - 1)]
        error = largest((one.norm_squared / shared - 1).abs())
        yield Check("PH9", "batch invariance of the norm", error, 10 * tol)


def _kind(operator: Operator, *, dtype: torch.dtype) -> Iterator[Check]:
    """An image of `dtype` comes back as `dtype`, and no input is modified."""
    x, _, u = _at(operator, 100, dtype)
    inputs = (x, u, *tensors(operator))
    held = [t.clone() for t in inputs]
    y = operator.A(x)
    yield holds("PH10", "A keeps the dtype", y.dtype == measured(operator, dtype))
    for name, t in (("vjp", operator.vjp(x, u)), ("back_project", operator.back_project(y))):
        yield holds("PH10", f"{name} keeps the dtype", t.dtype == dtype)
    pairs = zip(held, inputs, strict=True)
    yield holds("PH11", "no input is modified", all(torch.equal(a, b) for a, b in pairs))


def _refused(operator: Operator, *, dtype: torch.dtype) -> Iterator[Check]:
    """What only a linear operator has is refused, and not made up."""
    x, _, u = _at(operator, 110, dtype)
    for name, call, t in (
        ("A_adjoint", operator.A_adjoint, u),
        ("normal", operator.normal, x),
        ("solve_normal", lambda b: operator.solve_normal(b, 1.0), x),
        ("pseudo_inverse", operator.pseudo_inverse, u),
    ):
        yield holds("PH14", f"{name} is refused", _raises(call, t))


def _raises(call: Callable[[Tensor], Tensor], t: Tensor) -> bool:
    try:
        call(t)
    except ConfigError:
        return True
    return False
