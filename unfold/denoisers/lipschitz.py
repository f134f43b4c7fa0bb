"""How far from nonexpansive a map of images is, as measured."""

from collections.abc import Callable

import torch

from unfold.pytree import batched_norm, per_image
from unfold.random import generator
from unfold.typing import Image

SIDE, STEP, PRODUCTS = 32, 0.1, 12
"""Of the test images, of the difference quotients (a norm), and of the power iteration."""


def lipschitz(D: Callable[[Image], Image], channels: int, like: torch.Tensor) -> float:
    """A lower bound of the Lipschitz constant of D: the largest ‖D(x + v) − D(x)‖ / ‖v‖ found.

    v is that of a power iteration on JᵀJ, J the Jacobian of D at two images: edges with some
    noise, and noise alone. They are the same every time, in the precision and on the device of
    `like`.

    Source: Golub and Van Loan, Matrix computations, 4th edition (2013), section 8.2.
    """
    numbers = generator("lipschitz").random((3, channels, SIDE, SIDE))
    noise, other, v = torch.from_numpy(numbers).to(like.device, like.dtype)
    ramp = torch.linspace(0, 1, SIDE).to(like)
    edges = 0.25 + 0.5 * (ramp[:, None] > ramp) + 0.2 * (noise - 0.5)
    x = torch.stack((edges.expand_as(other), other)).requires_grad_()
    v = (v - 0.5).expand_as(x)
    with torch.enable_grad():
        out = D(x)
    largest = torch.zeros(len(x)).to(like)
    for _ in range(PRODUCTS):
        v = v / per_image(batched_norm(v).clamp(min=torch.finfo(v.dtype).tiny), v)
        with torch.no_grad():
            moved = (D(x + STEP * v) - out) / STEP
        largest = torch.maximum(largest, batched_norm(moved))
        (v,) = torch.autograd.grad(out, x, moved, retain_graph=True)
    return float(largest.max())
