"""The duality gap of an analysis prior over a box."""

from typing import Any

import torch

from unfold.algorithms.algorithm import BoxAlgorithm, flat
from unfold.problem import Problem
from unfold.pytree import batched_inner
from unfold.typing import Field, Image, PerImage, Scalar


def relative_box_gap(
    algorithm: BoxAlgorithm[Any], lam: Scalar, x: Image, u: Field, problem: Problem
) -> PerImage | None:
    """(P(x) − D(p, u)) / P(x) for P = d(A·, y) + λh(K·) over a bounded set of images.

    With p = ∇d(Ax, y), d(Ax, y) + d*(p) = ⟨A*p, x⟩, and with v = −(A*p + K*u) the gap is
    Σ (λ|Kx| − u·Kx) + Σ (sup v·z − v·x), z in the set: two sums of terms that are never negative,
    so that no digits cancel. The bound makes every (p, u) with u in the dual ball of h feasible.

    None where d is not convex and differentiable, as this pair of dual variables needs, or A is not
    linear.
    """
    f, g = problem.f, problem.g
    if not (f.fidelity.convex and "grad" in f.fidelity.offers() and f.operator.linear):
        return None
    p = f.fidelity.grad(problem.A(x), problem.y)
    v = -(problem.A_adjoint(p) + g.analysis.adjoint(u))
    regularised = flat(lam) * g.value(x)
    prior_part = regularised - batched_inner(u, g.analysis.forward(x))
    box_part = (algorithm.support(v) - (v.conj() * x).real).flatten(1).sum(1)
    primal = f.value(x) + regularised
    return (prior_part + box_part) / primal.clamp(min=torch.finfo(primal.dtype).tiny)
