"""Linear solves inside unfolded steps: few operator calls, and gradients that do not notice."""

import pytest
import torch

from unfold.algorithms.admm import ADMM
from unfold.algorithms.hqs import HQS
from unfold.denoisers.dncnn import DnCNN
from unfold.errors import ConfigError
from unfold.fidelities.l2 import L2
from unfold.initialization import BackProjection
from unfold.models.unfolded import Unfolded
from unfold.physics.blur.convolution import ValidConvolution
from unfold.priors.denoiser_priors import PnP
from unfold.reconstructor import Reconstructor

CALLS = 170
"""Of A and A*, forward and backward, over 8 iterations; deepinv 0.5 needs 918."""


class Counted(ValidConvolution):
    """Counts the calls of A and of A*."""

    calls = 0

    def forward(self, x):
        type(self).calls += 1
        return super().forward(x)

    def adjoint(self, y):
        type(self).calls += 1
        return super().adjoint(y)


def blur(dtype=torch.float32):
    width = torch.exp(-((torch.arange(13.0) - 6) ** 2) / 8)
    kernel = torch.outer(width, width)
    return Counted((kernel / kernel.sum())[None, None].to(dtype), (1, 64, 64))


def trained_once(algorithm, dtype):
    """The image and the gradients of 8 iterations, and the calls that they took."""
    torch.manual_seed(0)
    prior, start = PnP(DnCNN(1, depth=3, width=8)), BackProjection()
    net = Reconstructor(algorithm, prior, L2(), Unfolded(8), start).to(dtype)
    x = torch.rand(4, 1, 64, 64).to(dtype)
    operator = blur(dtype)
    y = operator.A(x)
    assert operator.norm_squared > 0  # computed before the calls are counted
    Counted.calls = 0
    image = net(y, operator)
    (image - x).square().mean().backward()
    gradients = [p.grad.flatten() for p in net.parameters() if p.grad is not None]
    return image.detach(), torch.cat(gradients), Counted.calls


@pytest.mark.parametrize("algorithm", [HQS(), ADMM()], ids=["hqs", "admm"])
def test_eight_iterations_take_few_calls_and_lose_nothing(algorithm):
    image, gradients, calls = trained_once(algorithm, torch.float32)
    exact, expected, _ = trained_once(algorithm, torch.float64)
    assert calls <= CALLS
    assert (image - exact).norm() <= 3e-4 * exact.norm()
    assert (gradients - expected).norm() <= 1e-3 * expected.norm()


def test_double_precision_keeps_its_solves():
    model = Unfolded(2)
    assert model.solve_tolerance(torch.zeros(1, dtype=torch.float64)) is None
    assert model.solve_tolerance(torch.zeros(1, dtype=torch.complex64)) == model.solve_tol


def test_a_tolerance_out_of_range_is_refused():
    with pytest.raises(ConfigError, match=r"Unfolded\.solve_tol = 1\.0: must be in \(0, 1\)"):
        Unfolded(solve_tol=1.0)
