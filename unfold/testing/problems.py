"""A small problem for any algorithm, with a prior and a fidelity that fit it."""

from typing import Any

import torch

from unfold.algorithms.algorithm import Algorithm
from unfold.compatibility import check_needs
from unfold.errors import ConfigError
from unfold.fidelities.fidelity import Fidelity
from unfold.fidelities.l2 import L2
from unfold.fidelities.poisson import PoissonFidelity
from unfold.models.classical import Classical
from unfold.physics.blur.convolution import CircularConvolution
from unfold.priors.box import Box
from unfold.priors.composite import Sum
from unfold.priors.l1 import L1
from unfold.priors.prior import Prior
from unfold.priors.tikhonov import Tikhonov
from unfold.priors.tv import TV
from unfold.problem import Problem
from unfold.reconstructor import Reconstructor
from unfold.testing.proximal import gaussian

FIDELITIES: tuple[Fidelity, ...] = (L2(), PoissonFidelity(0.1))

PRIORS: tuple[Prior, ...] = (Tikhonov(), TV(), Sum((L1(), Box(-1.0, 2.0))), L1())


def problem_for(algorithm: Algorithm[Any]) -> tuple[Algorithm[Any], Problem]:
    """The algorithm with absolute steps, and a deblurring problem of two 8 × 8 images.

    Raises:
        ConfigError: none of `FIDELITIES` and `PRIORS` fits it.
    """
    g = torch.Generator().manual_seed(3)
    h = torch.rand(2, 1, 3, 3, generator=g, dtype=torch.float64)
    h = 0.3 * h / h.sum((-2, -1), keepdim=True)
    h[..., 1, 1] += 0.7
    operator = CircularConvolution(h, (1, 8, 8))
    x = torch.rand(2, 1, 8, 8, generator=g, dtype=torch.float64)
    y = (operator.A(x) + 0.05 * gaussian(2, 1, 8, 8, seed=6)).abs()
    last: ConfigError | None = None
    for fidelity in FIDELITIES:
        for prior in PRIORS:
            try:
                check_needs(algorithm, prior, fidelity)
                net = Reconstructor(algorithm, prior, fidelity, Classical()).double()
                found, problem = net.steps(y, operator).at(0)
                found.init(problem)
                return found, problem
            except ConfigError as error:
                last = error
    assert last is not None
    raise last
