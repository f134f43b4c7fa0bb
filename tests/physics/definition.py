"""The periodic convolution by its definition."""

import numpy as np
import torch
from torch import Tensor

from tests.operator_properties import DOUBLE, check, gap, probe
from unfold.physics.operator import Operator


def convolve_by_definition(x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """y[i, j] = Σ h[u, v] x[i − u + cu, j − v + cv], indices modulo the size: the definition."""
    cu, cv = h.shape[0] // 2, h.shape[1] // 2
    return sum(
        h[u, v] * np.roll(x, (u - cu, v - cv), (0, 1))
        for u in range(h.shape[0])
        for v in range(h.shape[1])
    )


def assert_convolves(operator: Operator, kernel: Tensor, *, dtype: torch.dtype = DOUBLE) -> None:
    """A is the periodic convolution with `kernel` by its definition: to 1e-12."""
    x = probe(operator, 20, dtype=dtype)
    got = operator.A(x)
    for b in range(len(x)):
        for c in range(x.shape[1]):
            h = kernel[min(b, len(kernel) - 1), min(c, kernel.shape[1] - 1)].numpy()
            want = torch.from_numpy(convolve_by_definition(x[b, c].numpy(), h))
            check("y = h * x", operator, gap(got[b, c], want), 1e-12)
