"""The Jacobian of a step at its fixed point: how large it is, and how much it contracts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unfold.parameters.bounds import Declared, at_least, bounded, nonnegative
from unfold.pytree import batched_norm, tensors
from unfold.random import Draws, generator
from unfold.solvers.fixed_point import pack
from unfold.solvers.implicit import one_step
from unfold.typing import PerImage


@dataclass(frozen=True)
class JacobianPenalty(Declared):
    """weight · E‖Jᵀε‖² / N = weight · ‖J‖²_F / N, ε Gaussian, J the Jacobian at the equilibrium.

    N is the size of the state, so that the penalty does not depend on the size of the images.

    Args:
        weight: of the penalty in the loss; 0 for none.
        probes: draws of ε per image, at least 1.

    Source: Bai, Koltun and Kolter, Stabilizing equilibrium models by Jacobian regularization, ICML
    2021, equations (4) and (5).
    """

    weight: float = bounded(0.0, nonnegative)
    probes: int = bounded(1, at_least(1))

    def value(self, T: Callable[[Any], Any], state: Any, draws: Draws) -> Float[Tensor, ""]:
        """The penalty of a batch, with a gradient in what T depends on; `state` is held fixed.

        Args:
            T: the step.
            state: the equilibrium.
            draws: of the probes, one set for each image.
        """
        products = _products(T, state, recorded=True)
        z = pack(state)
        total = z.new_zeros(())
        for probe in range(self.probes):
            noise = draws.within("jacobian").like(z).normal(str(probe), z.shape[1:])
            total = total + products(noise).square().mean()
        return self.weight / self.probes * total


def contraction(T: Callable[[Any], Any], state: Any, iterations: int) -> PerImage:
    """The spectral radius of J by power iteration: the growth per product, over the last half.

    A geometric mean over several products, because those of a complex pair go up and down. It
    starts from the same Gaussian vector every time.

    Args:
        T: the step.
        state: the equilibrium.
        iterations: products with Jᵀ, at least 1.

    Source: Golub and Van Loan, Matrix computations, 4th edition (2013), section 7.3.1.
    """
    products = _products(T, state, recorded=False)
    z = pack(state)
    numbers = generator("contraction").standard_normal(z.shape[1])
    v = torch.from_numpy(numbers).to(z).expand_as(z)
    v = v / batched_norm(v)[:, None]
    growth, counted = torch.zeros_like(z[:, 0]), 0
    for k in range(iterations):
        v = products(v)
        size = batched_norm(v)
        v = v / torch.where(size > 0, size, 1)[:, None]
        if 2 * k >= iterations - 1:
            growth, counted = growth + size.log(), counted + 1
    return (growth / counted).exp()


def _products(T: Callable[[Any], Any], state: Any, *, recorded: bool) -> Callable[[Tensor], Tensor]:
    """v ↦ Jᵀv on packed states; one step is recorded."""
    start, end = one_step(T, state)
    leaves = tensors(start)
    with torch.enable_grad():
        flat = pack(end)

    def product(v: Tensor) -> Tensor:
        found = torch.autograd.grad(
            flat, leaves, v, retain_graph=True, create_graph=recorded, allow_unused=True
        )
        pairs = zip(found, leaves, strict=True)
        return pack(tuple(torch.zeros_like(t) if g is None else g for g, t in pairs))

    return product
