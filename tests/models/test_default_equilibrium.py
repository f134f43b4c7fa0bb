"""The equilibrium of `model=deq` by default: reached, differentiated, above TV from the start."""

import warnings

import pytest
import torch
from torch import Tensor

import unfold
from tests.engine import uniform
from unfold.data.image_data import EmbeddedData
from unfold.denoisers.ridge import WeaklyConvexRidge
from unfold.physics.base import Examples
from unfold.priors.ridge import LearnedPotential
from unfold.random import Draws

PLACES = (0, 1)

WEIGHTS = ((0.002, 0.004, 0.008), (0.07, 0.08, 0.1))
"""Of total variation, around the best one for the blur and for the noise."""


def photographs(size: int) -> Tensor:
    """The middle of each of the two photographs that are tested on."""
    found = [example.image for _, example in EmbeddedData(0, multiple_of=1).examples("test")]
    return torch.stack([x[:, 96 : 96 + size, 96 : 96 + size] for x in found])


def psnr(x: Tensor, truth: Tensor) -> float:
    return float(-10 * (x - truth).square().mean((1, 2, 3)).log10().mean())


@pytest.mark.parametrize("more", [(), ("physics=denoising", "physics.noise.sigma=0.098")])
def test_it_is_reached_and_so_is_its_gradient(more: tuple[str, ...]):
    """Against 300 plain steps in double precision; no warning, at most 60 evaluations."""
    experiment, x = unfold.build("model=deq", *more), photographs(32)
    y, operator = experiment.physics.measure(Examples(x), Draws(0, PLACES))
    net, level = experiment.reconstructor, experiment.physics.known_level(y, operator)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = net.solve(y, operator, noise_level=level)
        (solution.image - x).square().mean().backward()
    assert solution.converged.all() and solution.iterations.max() <= 60
    assert solution.backward is not None and solution.backward.converged.all()
    slow = unfold.build("model=deq", "model/solver=picard", "model.max_iterations=300", *more)
    exact = slow.reconstructor.double()
    exact.model = exact.model.__class__(1e-8, 1e-8, 300, exact.model.solver)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is asked for more than it is compared with
        want = exact.solve(y.double(), operator.to_like(y.double()), noise_level=level).image
    error = (solution.image - want).flatten(1).norm(dim=1) / want.flatten(1).norm(dim=1)
    assert (error <= 2 * solution.error + 1e-6).all()


@pytest.mark.parametrize("more", [(), ("physics=denoising", "physics.noise.sigma=0.098")])
@torch.no_grad()
def test_it_starts_above_tuned_total_variation(more: tuple[str, ...]):
    x, found = photographs(64), {}
    classical = ("model=classical", "prior=tv", "model.tol=1e-3")
    for name, overrides in {
        "deq": ("model=deq",),
        **{w: (*classical, f"algo.lambda_reg={w}") for w in WEIGHTS[bool(more)]},
    }.items():
        experiment = unfold.build(*overrides, *more)
        y, operator = experiment.physics.measure(Examples(x), Draws(0, PLACES))
        found[name] = psnr(experiment(y, operator), x)
    assert found.pop("deq") > max(found.values()), found


@torch.no_grad()
def test_a_potential_weighs_as_much_as_the_variance_of_the_noise():
    R, x = WeaklyConvexRidge(1).double(), uniform(2, 1, 12, 9)
    levels = torch.tensor([0.01, 0.05], dtype=x.dtype).reshape(2, 1, 1, 1)
    one, each = LearnedPotential(R, 0.1), LearnedPotential(R, 0.1, noise=levels)
    factor = torch.tensor([1.0, 25.0], dtype=x.dtype)
    for found, want in (
        (each.value(x), factor * one.value(x)),
        (each.grad(x), factor.reshape(2, 1, 1, 1) * one.grad(x)),
        (each.lipschitz.flatten(), factor * one.lipschitz.flatten()),
    ):
        torch.testing.assert_close(found, want)
