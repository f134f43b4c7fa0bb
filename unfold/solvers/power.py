"""The norm of an operator, from above.

Source: Golub and Kahan, Calculating the singular values and pseudo-inverse of a matrix, SINUM 2
(1965), in the form of the Lanczos process on A*A; Paige, Error analysis of the Lanczos algorithm,
IMA J. Appl. Math. 18 (1976), for why the largest value needs no reorthogonalisation.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unfold.pytree import batched_inner, batched_norm, per_image
from unfold.random import generator
from unfold.typing import PerImage

if TYPE_CHECKING:
    from unfold.physics.operator import Operator
else:
    Operator = Any

MAX_ITERATIONS = 300
TEST_EVERY = 10
RESIDUAL = 2e-5
SAFETY = 1e-5
POSITIVE_STEPS = 4


def norm_squared(operator: Operator) -> PerImage:
    """‖A‖² ≤ (θ + ‖A*Au − θu‖)(1 + 1e-5 + 100ε), θ the largest Ritz value of A*A and u its vector.

    The process runs until the residual is below 2e-5 θ, so that the bound is within 4e-5 of the
    truth in double precision (ε is the unit of rounding). It starts from the same Gaussian image
    every time, is run for each sample by itself, and carries no gradient. The image is
    complex where the operator says that its images are.

    Returns:
        (B,), or (1,) where the operator is the same for every sample.
    """
    with torch.inference_mode(False), torch.no_grad():
        return _bound(operator, _start(operator))


def positive_bound(operator: Operator, steps: int = POSITIVE_STEPS) -> PerImage:
    """max_i (A*Aw)_i / w_i ≥ ‖A‖² for an A without negative entries, and any w > 0.

    The bound of Collatz and Wielandt holds at every w, so that the iteration w ← A*Aw, from a flat
    image, may stop at once; it comes near ‖A‖² as w comes near the leading singular vector.

    Args:
        operator: A; every entry of its matrix is real and at least 0.
        steps: of the iteration.

    Returns:
        (B,), or (1,) where the operator is the same for every sample; without a gradient.

    Source: Collatz, Einschließungssatz für die charakteristischen Zahlen von Matrizen, Math. Z. 48
    (1942); Horn and Johnson, Matrix analysis, 2nd ed. 2013, corollary 8.1.31.
    """
    with torch.inference_mode(False), torch.no_grad():
        w = torch.ones_like(_start(operator))
        for _ in range(steps):
            grown = operator.normal(w)
            # The floor keeps w positive where A does not see, and rounding out of the quotient.
            w = grown.maximum(per_image(1e-3 * grown.flatten(1).amax(1), grown))
        bound = (operator.normal(w) / w).flatten(1).amax(1)
        return bound * (1 + SAFETY + 100 * torch.finfo(bound.dtype).eps)


def _start(operator: Operator) -> Tensor:
    """The same Gaussian image for every sample, of norm 1."""
    like = operator.anchor
    kind = like.dtype.to_real()
    if operator.complex_images:
        kind = kind.to_complex()
    numbers = generator("norm_squared").standard_normal((1, *operator.image_shape))
    q = torch.from_numpy(numbers).to(dtype=kind, device=like.device)
    start: Tensor = q / torch.linalg.vector_norm(q)
    return start.expand(operator.batch, *operator.image_shape)


def _bound(operator: Operator, q: Tensor) -> PerImage:
    """Run the Lanczos process; a sample keeps the bound of the first test that it passes."""
    previous, beta = torch.zeros_like(q), torch.zeros_like(batched_norm(q))
    bound, done = torch.zeros_like(beta), torch.zeros_like(beta, dtype=torch.bool)
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    for k in range(1, MAX_ITERATIONS + 1):
        w = operator.normal(q) - per_image(beta, q) * previous
        diagonal.append(batched_inner(q, w))
        w = w - per_image(diagonal[-1], q) * q
        beta = batched_norm(w)
        beside.append(beta)
        previous, q = q, w / per_image(torch.where(beta == 0, 1, beta), w)
        if k % TEST_EVERY == 0:
            value, residual = _ritz(torch.stack(diagonal, 1), torch.stack(beside, 1))
            bound = torch.where(done, bound, (value + residual).to(bound.dtype))
            done = done | (residual <= RESIDUAL * value)
            if bool(done.all()):
                break
    return bound * (1 + SAFETY + 100 * torch.finfo(bound.dtype).eps)


def _ritz(diagonal: Tensor, beside: Tensor) -> tuple[Tensor, Tensor]:
    """The largest eigenvalue of the tridiagonal matrix and the residual of its Ritz vector."""
    d, e = diagonal.double(), beside.double()
    T = torch.diag_embed(d) + torch.diag_embed(e[:, :-1], 1) + torch.diag_embed(e[:, :-1], -1)
    values, vectors = torch.linalg.eigh(T)
    return values[:, -1], e[:, -1] * vectors[:, -1, -1].abs()
