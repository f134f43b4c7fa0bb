"""Dense problems of a few unknowns, their NumPy twins, and minimisers found in other ways."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tests.engine import DOUBLE, normal, uniform
from unfold.fidelities.fidelity import Fidelity
from unfold.fidelities.l2 import L2
from unfold.initialization import Start
from unfold.physics.operator import LinearOperator
from unfold.priors.prior import Prior
from unfold.problem import Problem, make_problem

SHAPE = (1, 2, 3)
SIZE = 6


@dataclass(frozen=True, eq=False)
class Dense(LinearOperator):
    """Ax by a matrix, (1 or B, m, n), on images of n pixels."""

    matrix: Tensor
    shape: tuple[int, int, int] = SHAPE

    @property
    def image_shape(self):
        return self.shape

    @property
    def measurement_shape(self):
        return (self.matrix.shape[1],)

    def forward(self, x):
        return (self.matrix @ x.flatten(1)[..., None])[..., 0]

    def adjoint(self, y):
        column = y.to(self.matrix.dtype)[..., None]
        return (self.matrix.mH @ column).reshape(-1, *self.shape)

    def solve_normal(self, b, gamma, start=None, tol=None):
        normal = self.matrix.mH @ self.matrix
        scale = gamma.reshape(-1, 1, 1) if isinstance(gamma, Tensor) else gamma
        eye = torch.eye(normal.shape[-1], dtype=normal.dtype)
        return torch.linalg.solve(eye + scale * normal, b.flatten(1)[..., None]).reshape(b.shape)


def positive_matrix(rows: int = 8, seed: int = 0) -> Tensor:
    """Without negative entries, and well conditioned."""
    return 0.25 * uniform(1, rows, SIZE, seed=seed) + torch.eye(rows, SIZE, dtype=DOUBLE)


MATRIX = positive_matrix()
M = MATRIX[0].numpy()
Y = normal(1, 8, seed=4)
COUNTS = (1 + 3 * uniform(1, SIZE, seed=4)) @ MATRIX[0].mT * (0.9 + 0.2 * uniform(1, 8, seed=5))
"""So near to what a positive image explains that the best image is positive too."""
NORM = float(np.linalg.norm(M, 2) ** 2)


def dense_problem(
    prior: Prior,
    fidelity: Fidelity | None = None,
    *,
    y: Tensor = Y,
    matrix: Tensor = MATRIX,
    shape: tuple[int, int, int] = SHAPE,
    start: Start | None = None,
) -> Problem:
    """d(Ax, y) + λg for the matrix above."""
    return make_problem(fidelity or L2(), Dense(matrix, shape), y, prior, start)


def image(x: np.ndarray, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x)).reshape(1, *shape)


def soft(v: np.ndarray, w: float) -> np.ndarray:
    return np.sign(v) * np.maximum(np.abs(v) - w, 0)


def lasso(y: np.ndarray, lam: float, *, signed: bool = True) -> np.ndarray:
    """argmin ½‖Mx − y‖² + λ‖x‖₁ by coordinate descent, over x ≥ 0 unless signed."""
    x, r = np.zeros(SIZE), y.copy()
    for _ in range(400):
        for j in range(SIZE):
            column = M[:, j]
            size = column @ column
            new = soft(column @ r + size * x[j], lam) / size
            new = new if signed else max(new, 0.0)
            r, x[j] = r - (new - x[j]) * column, new
    return x


def ridge(y: np.ndarray, lam: float) -> np.ndarray:
    return np.linalg.solve(M.T @ M + lam * np.eye(SIZE), M.T @ y)


def differences(n: int) -> np.ndarray:
    """Dx of n pixels in a row."""
    return np.eye(n, k=1)[:-1] - np.eye(n)[:-1]


def total_variation(A: np.ndarray, y: np.ndarray, lam: float) -> np.ndarray:
    """argmin ½‖Ax − y‖² + λ Σ|x_{i+1} − x_i|, by an active-set solve of the dual."""
    from scipy.optimize import lsq_linear

    D, H = differences(A.shape[1]), A.T @ A
    root = np.linalg.inv(np.linalg.cholesky(H))
    u = lsq_linear(root @ D.T, root @ A.T @ y, bounds=(-lam, lam), method="bvls", tol=1e-15).x
    return np.linalg.solve(H, A.T @ y - D.T @ u)
