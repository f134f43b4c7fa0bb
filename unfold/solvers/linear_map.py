"""What solvers need of a linear map, and its norm from above."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from unfold.pytree import batched_inner, batched_norm, per_image
from unfold.typing import Image, PerImage, Scalar


class LinearMap(ABC):
    """A, sample by sample; a frozen dataclass, whose tensors may require gradients."""

    @abstractmethod
    def forward(self, x: Any) -> Tensor:
        """Ax."""

    @abstractmethod
    def adjoint(self, y: Any) -> Tensor:
        """A*y."""

    def normal(self, x: Any) -> Tensor:
        """A*Ax."""
        return self.adjoint(self.forward(x))

    def precondition(self, r: Any, gamma: Scalar) -> Tensor:
        """Near (I + γA*A)⁻¹r by a Hermitian positive definite map, for iterative solves; or r."""
        given: Tensor = r
        return given

    def normal_spectrum(self, like: Any) -> Tensor | None:
        """s with A*A = F⁻¹ s F, half of it for real images; None where no such s is known."""
        return None


MAX_ITERATIONS = 300
TEST_EVERY = 10
RESIDUAL = 2e-5
SAFETY = 1e-5
POSITIVE_STEPS = 4


def norm_squared(operator: LinearMap, start: Image) -> PerImage:
    """‖A‖² ≤ (θ + ‖A*Au − θu‖)(1 + 1e-5 + 100ε), θ the largest Ritz value of A*A and u its vector.

    The process runs until the residual is below 2e-5 θ, so that the bound is within 4e-5 of the
    truth in double precision (ε is the unit of rounding). Samples are independent of each other.

    Args:
        operator: A.
        start: an image of norm 1 for each sample, or (1, …) where A is the same for all; complex
            where images are.

    Returns:
        (B,) or (1,), without a gradient.

    Source: Golub and Kahan, Calculating the singular values and pseudo-inverse of a matrix, SINUM 2
    (1965), in the form of the Lanczos process on A*A; Paige, Error analysis of the Lanczos
    algorithm, IMA J. Appl. Math. 18 (1976), for why the largest value needs no
    reorthogonalisation.
    """
    with torch.inference_mode(False), torch.no_grad():
        return _bound(operator, start)


def positive_bound(operator: LinearMap, start: Image, steps: int = POSITIVE_STEPS) -> PerImage:
    """max_i (A*Aw)_i / w_i ≥ ‖A‖² for an A without negative entries, and any w > 0.

    The bound of Collatz and Wielandt holds at every w, so that the iteration w ← A*Aw may stop at
    once; it comes near ‖A‖² as w comes near the leading singular vector.

    Args:
        operator: A; every entry of its matrix is real and at least 0.
        start: w > 0, for each sample, or (1, …) where A is the same for all.
        steps: of the iteration.

    Returns:
        (B,) or (1,), without a gradient.

    Source: Collatz, Einschließungssatz für die charakteristischen Zahlen von Matrizen, Math. Z. 48
    (1942); Horn and Johnson, Matrix analysis, 2nd ed. 2013, corollary 8.1.31.
    """
    with torch.inference_mode(False), torch.no_grad():
        w = start
        for _ in range(steps):
            grown = operator.normal(w)
            # The floor keeps w positive where A is 0, and rounding out of the quotient.
            w = grown.maximum(per_image(1e-3 * grown.flatten(1).amax(1), grown))
        bound = (operator.normal(w) / w).flatten(1).amax(1)
        return bound * (1 + SAFETY + 100 * torch.finfo(bound.dtype).eps)


def _bound(operator: LinearMap, q: Tensor) -> PerImage:
    """Run the Lanczos process; a sample keeps the bound of the first test that it passes."""
    previous, beta = torch.zeros_like(q), torch.zeros_like(batched_norm(q))
    bound, done = torch.zeros_like(beta), torch.zeros_like(beta, dtype=torch.bool)
    diagonal: list[Tensor] = []
    off_diagonal: list[Tensor] = []
    for k in range(1, MAX_ITERATIONS + 1):
        w = operator.normal(q) - per_image(beta, q) * previous
        diagonal.append(batched_inner(q, w))
        w = w - per_image(diagonal[-1], q) * q
        beta = batched_norm(w)
        off_diagonal.append(beta)
        previous, q = q, w / per_image(torch.where(beta == 0, 1, beta), w)
        if k % TEST_EVERY == 0:
            value, residual = _ritz(torch.stack(diagonal, 1), torch.stack(off_diagonal, 1))
            bound = torch.where(done, bound, (value + residual).to(bound.dtype))
            done = done | (residual <= RESIDUAL * value)
            if bool(done.all()):
                break
    return bound * (1 + SAFETY + 100 * torch.finfo(bound.dtype).eps)


def _ritz(diagonal: Tensor, off_diagonal: Tensor) -> tuple[Tensor, Tensor]:
    """The largest eigenvalue of the tridiagonal matrix and the residual of its Ritz vector."""
    d, e = diagonal.double(), off_diagonal.double()
    T = torch.diag_embed(d) + torch.diag_embed(e[:, :-1], 1) + torch.diag_embed(e[:, :-1], -1)
    values, vectors = torch.linalg.eigh(T)
    return values[:, -1], e[:, -1] * vectors[:, -1, -1].abs()
