"""What is seen on the way of a reconstruction and of a training, and its figures."""

import math

import pytest
import torch

from tests.engine import network_prior, reconstructor
from unfold.algorithms.admm import ADMM
from unfold.algorithms.analysis_pdhg import AnalysisPDHG
from unfold.algorithms.pgd import PGD
from unfold.data.example import Example
from unfold.evaluation.figures import convergence_figure, training_figure
from unfold.evaluation.metrics import ImageMetrics
from unfold.evaluation.single_image import follow
from unfold.models.classical import Classical
from unfold.models.deq import DEQ
from unfold.models.unfolded import Unfolded
from unfold.physics.blur.blur import Blur
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.noise.base import Gaussian
from unfold.priors.tv import TV
from unfold.priors.wavelet import Wavelet
from unfold.random import Draws

PHYSICS = Blur(Gaussian(0.05), GaussianKernel(3, 0.8))


@torch.no_grad()
def course(algorithm, model, prior=None):
    truth = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    net = reconstructor(algorithm, model, prior or network_prior()).float().eval()
    images = [("one.png", Example(truth[0])), ("two.png", Example(truth[1]))]
    first, second = follow(net, PHYSICS, images, 4, ImageMetrics())
    assert (first.name, second.name) == ("one.png", "two.png")
    y, operator = PHYSICS.measure(truth[1:], Draws(4, [1], "test"))
    return second, net.solve(y, operator), truth[1:]


def test_every_iterate_of_an_unfolded_network_is_recorded():
    seen, answer, truth = course(PGD(stepsize=0.3), Unfolded(4))
    assert [k for k, _ in seen.psnr] == [0, 1, 2, 3, 4]
    assert [k for k, _ in seen.residual] == [1, 2, 3, 4] and seen.measure == "relative change"
    error = float((answer.image - truth).square().mean())
    assert seen.psnr[-1][1] == pytest.approx(-10 * math.log10(error), rel=1e-5)
    assert seen.residual[-1][1] == pytest.approx(float(answer.residual), rel=1e-4)


def test_the_residual_of_an_equilibrium_vanishes():
    seen, answer, _ = course(PGD(stepsize=0.3), DEQ(tol=1e-4, accuracy=1.0))
    assert len(seen.psnr) == len(seen.residual) + 1 > int(answer.iterations)
    assert seen.residual[-1][1] < 1e-3 < seen.residual[0][1]


@pytest.mark.parametrize(
    ("algorithm", "prior", "measure"),
    [
        (AnalysisPDHG(), TV(), "relative duality gap"),
        (ADMM(), Wavelet("haar", 1), "relative residual"),
    ],
)
def test_classical_algorithms_record_their_certificate_without_images(algorithm, prior, measure):
    seen, answer, _ = course(algorithm, Classical(tol=1e-2, max_iterations=900, every=5), prior)
    assert seen.psnr == [] and seen.measure == measure
    steps, values = zip(*seen.residual, strict=True)
    assert steps[0] == 5 and steps[-1] == int(answer.iterations)
    assert values[-1] <= 1e-2 < values[0]


def test_the_figures_are_written(tmp_path):
    found = [course(PGD(stepsize=0.3), Unfolded(3))[0]]
    still = found[0]._replace(residual=[(1, 0.0)], psnr=[])
    for name, seen in (("moving", found), ("still", [still])):
        convergence_figure(seen, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_training_curves_are_drawn_if_there_are_any(tmp_path):
    curves, figure = tmp_path / "metrics.csv", tmp_path / "training.png"
    training_figure(curves, "psnr", figure)
    curves.write_text("step,validation/psnr\n5,20.0\n")
    training_figure(curves, "psnr", figure)
    assert not figure.exists()
    curves.write_text("step,train/loss,validation/psnr\n10,0.5,\n20,0.25,\n25,,20.0\n")
    training_figure(curves, "psnr", figure)
    assert figure.read_bytes().startswith(b"\x89PNG")
