"""Properties of a proximal operator, as functions that raise with the figures."""

from collections.abc import Callable

import torch
from torch import Tensor

from tests.engine import normal
from unfold.pytree import batched_inner, batched_norm, per_image

Prox = Callable[[Tensor, Tensor | float], Tensor]
Value = Callable[[Tensor], Tensor]


def assert_minimises(
    prox: Prox, value: Value, v: Tensor, w: Tensor | float, gap: float = 0.0
) -> None:
    """wg(z) + ½‖z − v‖² ≥ wg(p) + ½‖p − v‖² + ½‖z − p‖² for 200 z, half of them near p.

    The last term is there because the objective is 1-strongly convex: any other point in place of
    the minimiser p fails for some z near it. A p within `gap` of the least objective, relatively,
    is √(2 gap) away from the minimiser, and may miss by that times ‖z − p‖. `value` is called with
    all z one after the other: with many times the batch of v.
    """
    p = prox(v, w)
    weight = torch.as_tensor(w, dtype=torch.float64).flatten()

    def objective(z: Tensor) -> Tensor:
        n = len(z) // len(v)
        at = v.repeat(n, *(1,) * (v.ndim - 1))
        return weight.expand(len(v)).repeat(n) * value(z) + 0.5 * batched_norm(z - at) ** 2

    others = [v, torch.zeros_like(v), 0.999 * p, p + 1e-3 * (v - p)]
    for i in range(196):
        size = 1.0 if i % 2 else 1e-3
        others.append(p + size * normal(*p.shape, seed=100 + i, dtype=p.dtype))
    least = objective(p).repeat(len(others))
    z = torch.cat(others)
    away = batched_norm(z - p.repeat(len(others), *(1,) * (p.ndim - 1)))
    allowed = gap * least + (2 * gap * least).sqrt() * away
    worst = float((objective(z) - least - 0.5 * away**2 + allowed).min())
    assert worst >= -1e-9, f"not the minimiser: slack {worst:.2e}"


def assert_firmly_nonexpansive(
    prox: Callable[[Tensor], Tensor],
    *shape: int,
    dtype: torch.dtype,
    slack: float = 1e-12,
    pairs: int = 1000,
) -> None:
    """⟨Px − Py, x − y⟩ ≥ ‖Px − Py‖² for many pairs, far and near."""
    x = normal(pairs, *shape, seed=1, dtype=dtype)
    step = torch.logspace(-2, 1, pairs, dtype=torch.float64)
    y = x + per_image(step, x) * normal(pairs, *shape, seed=2, dtype=dtype)
    d = prox(x) - prox(y)
    margin = batched_inner(d, x - y) - batched_norm(d) ** 2
    worst = float((margin / batched_norm(x - y) ** 2).min())
    assert worst >= -slack, f"not firmly nonexpansive: {worst:.2e}"


def assert_no_image_sees_its_batch(prox: Prox, v: Tensor, w: Tensor) -> None:
    """An image alone has the prox that it has in a batch, to 1e-12."""
    whole = prox(v, w)
    scale = float(whole.abs().max()) or 1.0
    for i in range(len(v)):
        alone = prox(v[i : i + 1], w[i : i + 1])
        number = prox(v[i : i + 1], w[i].item())
        worst = max(float((alone - whole[i]).abs().max()), float((number - whole[i]).abs().max()))
        assert worst <= 1e-12 * scale, f"image {i} differs by {worst:.2e}"


def assert_moreau(prox: Prox, prox_conj: Prox, u: Tensor, sigma: Tensor | float) -> None:
    """prox_{σg*}(u) + σ prox_{g/σ}(u/σ) = u, to 1e-10."""
    whole = prox_conj(u, sigma) + sigma * prox(u / sigma, 1 / sigma)
    worst = float((whole - u).abs().max()) / float(u.abs().max())
    assert worst <= 1e-10, f"Moreau's identity fails by {worst:.2e}"
