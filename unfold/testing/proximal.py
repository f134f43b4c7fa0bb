"""Properties of a proximal operator, of a gradient, and of a network."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from unfold.pytree import batched_inner, batched_norm, per_image
from unfold.testing.report import Check

Prox = Callable[[Tensor, Tensor | float], Tensor]
Value = Callable[[Tensor], Tensor]


def gaussian(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Numbers of mean 0 and variance 1, always the same for a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def minimises(
    prox: Prox, value: Value, v: Tensor, w: Tensor | float, *, gap: float = 0.0, seed: int = 100
) -> Iterator[Check]:
    """wg(z) + ½‖z − v‖² ≥ wg(p) + ½‖p − v‖² + ½‖z − p‖² for 200 z, half of them near p.

    The last term is there because the objective is 1-strongly convex: any other point instead of
    the minimiser p fails for some z near it. A p within `gap` of the least objective, relatively,
    is √(2 gap) away from the minimiser, and may miss by that times ‖z − p‖. `value` is called with
    all z one after the other: with many times the batch of v.
    """
    p = prox(v, w)
    weight = w.flatten() if isinstance(w, Tensor) and w.ndim else torch.as_tensor(w)

    def objective(z: Tensor) -> Tensor:
        n = len(z) // len(v)
        at = v.repeat(n, *(1,) * (v.ndim - 1))
        weighted = weight.expand(len(v)).repeat(n) * value(z)
        distance = batched_norm(z - at) ** 2
        return weighted + 0.5 * distance

    others = [v, torch.zeros_like(v), 0.999 * p, p + 1e-3 * (v - p)]
    for i in range(196):
        size = 1.0 if i % 2 else 1e-3
        others.append(p + size * gaussian(*p.shape, seed=seed + i, dtype=p.dtype))
    least = objective(p).repeat(len(others))
    z = torch.cat(others)
    away = batched_norm(z - p.repeat(len(others), *(1,) * (p.ndim - 1)))
    allowed = gap * least + (2 * gap * least).sqrt() * away
    slack = objective(z) - least - 0.5 * away**2 + allowed
    yield Check("PR1", "the prox minimises", _over(-slack), max(1e-9, 10 * gap))


def firmly_nonexpansive(
    prox: Callable[[Tensor], Tensor],
    *shape: int,
    slack: float = 1e-12,
    pairs: int = 1000,
    seed: int = 1,
) -> Iterator[Check]:
    """⟨Px − Py, x − y⟩ ≥ ‖Px − Py‖² for many pairs, far and near."""
    x = gaussian(pairs, *shape, seed=seed)
    step = torch.logspace(-2, 1, pairs, dtype=torch.float64)
    y = x + per_image(step, x) * gaussian(pairs, *shape, seed=seed + 1)
    d = prox(x) - prox(y)
    margin = (batched_inner(d, x - y) - batched_norm(d) ** 2) / batched_norm(x - y) ** 2
    yield Check("PR2", "firmly nonexpansive", _over(-margin), slack)


def moreau(prox: Prox, prox_conj: Prox, u: Tensor, sigma: Tensor | float) -> Iterator[Check]:
    """prox_{σg*}(u) + σ prox_{g/σ}(u/σ) = u."""
    total = prox_conj(u, sigma) + sigma * prox(u / sigma, 1 / sigma)
    error = float((total - u).detach().abs().max()) / float(u.abs().max())
    yield Check("PR3", "Moreau's identity", error, 1e-10)


def no_weight(prox: Prox, v: Tensor, inside: Tensor) -> Iterator[Check]:
    """w → 0 leaves a point of the domain where it is, and w = 0 is the projection onto it.

    `v` are any images, `inside` images in the domain of g, such as the prox of v.
    """
    once = prox(v, 0.0).detach()
    twice = prox(once, 0.0).detach()
    yield Check("PR5", "w = 0 is a projection", float((twice - once).abs().max()), 1e-12)
    moved = float((prox(inside, 1e-12) - inside).detach().abs().max())
    yield Check("PR5", "w → 0 is the identity", moved, 1e-9)


def batch_invariance(prox: Prox, v: Tensor, w: Tensor, *, tol: float = 1e-12) -> Iterator[Check]:
    """A single image has the prox that it has in a batch, with its weight as a number too."""
    batched = prox(v, w)
    scale = float(batched.detach().abs().max()) or 1.0
    worst = 0.0
    for i in range(len(v)):
        single = prox(v[i : i + 1], w[i : i + 1])
        number = prox(v[i : i + 1], w[i].item())
        for one in (single, number):
            worst = max(worst, _over((one - batched[i]).abs()))
    yield Check("PR9", "independent of the batch", worst / scale, tol)


def gradient(value: Value, grad: Callable[[Tensor], Tensor], x: Tensor) -> Iterator[Check]:
    """∇g is the derivative of g."""
    at = x.clone().requires_grad_()
    with torch.enable_grad():
        (want,) = torch.autograd.grad(value(at).sum(), at)
    got = grad(x).detach()
    error = float((got - want).abs().max()) / (float(want.abs().max()) or 1.0)
    yield Check("PR7", "the gradient is that of the value", error, 1e-10)


def differentiable(f: Callable[[Tensor], Tensor], x: Tensor) -> Iterator[Check]:
    """The derivative of f along a direction is its central difference."""
    direction, weights = gaussian(*x.shape, seed=41), gaussian(*x.shape, seed=42)
    at = x.clone().requires_grad_()
    with torch.enable_grad():
        (pulled,) = torch.autograd.grad(f(at), at, weights)
    slope = float((pulled * direction).sum())
    h = 1e-5
    with torch.no_grad():
        change = f(x + h * direction) - f(x - h * direction)
        difference = float((change * weights).sum()) / (2 * h)
    scale = max(abs(slope), abs(difference), 1e-6)
    yield Check("PR7", "its derivative is that of autograd", abs(slope - difference) / scale, 1e-6)


def _over(error: Tensor) -> float:
    """The largest error, NaN where there is one, and 0 where all are negative."""
    return float(error.detach().max().clamp(min=0.0))
