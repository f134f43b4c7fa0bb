"""Parameters of operators that are learned: their sets, gradients, budget, and what is refused."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

import unfold
from unfold.errors import ConfigError, ShapeError
from unfold.parameters.constraints import complex_numbers, positive, simplex
from unfold.parameters.declare import Learnable
from unfold.parameters.select import Trainable
from unfold.physics.base import Examples, Physics
from unfold.physics.blur.blur import Blur, VaryingBlur
from unfold.physics.blur.kernel_files import FixedKernel
from unfold.physics.blur.kernels import GaussianKernel, MotionKernel
from unfold.physics.ct.tomography import Tomography
from unfold.physics.denoising import Denoising
from unfold.physics.mri.cartesian import MRI, MultiCoilMRI
from unfold.physics.mri.coils import FixedMaps, sample_maps
from unfold.physics.mri.learned import LearnedColumns
from unfold.physics.mri.sampling import RandomColumns
from unfold.physics.noise.base import Gaussian, NoNoise
from unfold.physics.noise.measured import MeasuredNoise
from unfold.physics.wrapped import scaled
from unfold.random import Draws
from unfold.reconstructor import learn_physics

MEASURED = MeasuredNoise(0.01)


def learned(physics, *globs, simulates=False, **options):
    return learn_physics(physics, Trainable(globs, **options), simulates=simulates)


def numbers(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_a_kernel_on_its_simplex_keeps_its_values_and_its_sum():
    h = torch.tensor([[0.0, 0.1, 0.0], [0.2, 0.4, 0.2], [0.0, 0.1, 0.0]]).double()
    back = simplex.from_raw(simplex.to_raw(h))
    assert (back - h).abs().max() < 1e-3 and float(back.min()) > 0
    far = simplex.from_raw(numbers(2, 3, 5, 5) * 9)
    assert simplex.holds(far) and not simplex.holds(2 * far) and not simplex.holds(far - 0.1)
    S = numbers(1, 2, 3, 3, dtype=torch.complex128)
    assert torch.equal(complex_numbers.from_raw(complex_numbers.to_raw(S)), S)
    assert not complex_numbers.holds(S / 0)


@pytest.mark.parametrize("model", ["unfolded", "deq"])
def test_the_gradient_of_a_kernel_is_that_of_finite_differences(model):
    options = (
        ["model.iterations=3"] if model == "unfolded" else ["model.tol=1e-8", "algo.lambda_reg=0.3"]
    )
    net = unfold.build("algo=hqs", "prior=tikhonov", f"model={model}", *options).reconstructor
    net = net.double()
    physics, values = learned(Blur(MEASURED, GaussianKernel(3, 0.8)), "physics.kernel")
    values.double()
    y, x = numbers(1, 1, 8, 9, seed=1), numbers(1, 1, 8, 9, seed=2)

    def loss():
        y_, operator = physics.measure(Examples(x, y), Draws(0, (0,)))
        return (net.solve(y_, operator).image - x).square().mean()

    raw = values.raw_kernel
    (gradient,) = torch.autograd.grad(loss(), raw)
    for i in (0, 4, 5):
        step = (
            torch.zeros_like(raw).flatten().index_fill(0, torch.tensor(i), 1e-5).reshape(raw.shape)
        )
        with torch.no_grad():
            raw += step
            above = loss()
            raw -= 2 * step
            below = loss()
            raw += step
        assert float(gradient.flatten()[i]) == pytest.approx(float(above - below) / 2e-5, rel=1e-3)


def bump(size):
    u = torch.linspace(-1, 1, size, dtype=torch.float64)
    return torch.exp(-((u[:, None] - 0.2) ** 2 + (u + 0.1) ** 2) / 0.1)[None, None]


@pytest.mark.parametrize("axis", [0.0, 1.3, -2.45])
def test_an_axis_that_moves_is_that_of_the_geometry_with_its_derivative(axis):
    base = Tomography(MEASURED, angles=7, detectors=41)
    physics, values = learned(replace(base, axis=axis), "physics.axis")
    values.double()
    x, draws = bump(24), Draws(0, (0,), dtype=torch.float64)

    def exact(c):
        return replace(base, axis=c).sample(draws, (1, 24, 24)).A(x)

    A = physics.given(Examples(None, exact(axis))).sample(draws, (1, 24, 24))
    y = numbers(*exact(axis).shape)
    (slope,) = torch.autograd.grad((A.A(x) * bump(41)[:, :, :7]).sum(), values.raw_axis)
    with torch.no_grad():
        assert float((A.A(x) - exact(axis)).norm() / exact(axis).norm()) < 1e-3
        one, other = (A.A(x) * y).sum(), (A.A_adjoint(y) * x).sum()
    assert float(one) == pytest.approx(float(other), rel=1e-9)
    difference = (exact(axis + 0.1) - exact(axis - 0.1)) / 0.2
    assert float(slope) == pytest.approx(float((difference * bump(41)[:, :, :7]).sum()), rel=0.03)


def test_learned_columns_keep_their_budget_and_their_centre():
    logits = numbers(40, seed=3) * 2
    mask = LearnedColumns(columns=40, acceleration=4.0, centre=0.1, logits=logits)
    drawn = mask.sample(Draws(0, range(4000), dtype=torch.float64), 8, 40)[:, 0, 0]
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert float(drawn.sum(1).mean()) == pytest.approx(10, abs=0.15)
    middle = [0, 1, 2, 39]
    assert drawn[:, middle].all()
    # Other columns are as probable as the sigmoid of their logits says, but for one factor.
    outer = [i for i in range(40) if i not in middle]
    q = torch.sigmoid(logits[outer])
    want = 6 / 36 * q / q.mean() if q.mean() > 1 / 6 else 1 - (1 - q) * (5 / 6) / (1 - q).mean()
    assert (drawn.mean(0)[outer] - want).abs().max() < 4 * (0.25 / 4000) ** 0.5
    fixed = mask.sample(Draws(0, range(3), split="test"), 8, 40)
    best = [outer[i] for i in q.argsort(descending=True)[:6]]
    assert fixed.flatten().nonzero().flatten().tolist() == sorted(middle + best)
    with pytest.raises(ShapeError, match="images have 32"):
        mask.sample(Draws(0, (0,)), 8, 32)


def test_the_derivative_of_a_drawn_mask_has_the_mean_of_that_of_its_probabilities():
    logits, c = numbers(12, seed=4).requires_grad_(), numbers(12, seed=5)
    mask = LearnedColumns(columns=12, acceleration=2.0, centre=0.1, logits=logits)
    draws = Draws(0, range(20_000), dtype=torch.float64)
    (found,) = torch.autograd.grad((mask.sample(draws, 4, 12) * c).sum((1, 2, 3)).mean(), logits)
    p, _, _ = mask.probabilities(draws)
    (want,) = torch.autograd.grad((p * c).sum(), logits)
    assert (found - want).abs().max() < 0.03 * want.abs().max()


def test_a_mask_is_learned_where_y_is_simulated_and_its_gradient_finds_the_energy():
    """Images of one frequency: acquiring its column is what helps."""
    physics, values = learned(
        MRI(Gaussian(0.01), LearnedColumns(columns=16, acceleration=4.0, centre=0.06)),
        "physics.*",
        simulates=True,
    )
    x = torch.cos(2 * np.pi * 5 * torch.arange(16) / 16).expand(64, 1, 16, 16).to(torch.complex64)
    optimizer = torch.optim.Adam(values.parameters(), 0.3)
    for step in range(30):
        draws = Draws(step, range(64))
        y, operator = physics.given(Examples(x)).measure(Examples(x), draws)
        loss = (operator.A_adjoint(y) - x).abs().square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    operator = physics.given(Examples(x)).sample(Draws(0, (0,), split="test"), (1, 16, 16))
    chosen = operator.mask.flatten().nonzero().flatten().tolist()
    assert len(chosen) == 4 and {0, 5, 11} <= set(chosen)


def test_maps_are_learned_and_those_of_the_file_are_the_start():
    maps = sample_maps(Draws(0, (0,)), 3, 1.0, (1, 8, 8))
    physics, values = learned(
        MultiCoilMRI(MEASURED, RandomColumns(), maps=FixedMaps(maps)), "physics.*"
    )
    assert list(values.plans) == ["maps"] and torch.equal(values.value("maps"), maps)
    y = numbers(1, 1, 3, 8, 8, dtype=torch.complex64)
    y_, operator = physics.measure(Examples(None, y), Draws(0, (0,)))
    operator.A_adjoint(y_).abs().sum().backward()
    assert values.raw_maps.grad.isfinite().all() and values.raw_maps.grad.any()


def test_a_learned_value_counts_over_that_of_the_data_unless_it_is_stated():
    own = torch.ones(1, 3, 3)
    physics, values = learned(Blur(MEASURED, GaussianKernel(3, 0.5)), "physics.kernel")
    examples = Examples(None, torch.zeros(1, 1, 8, 8), {"kernel": own})
    h = physics.prospective(examples).kernels.sample(Draws(0, (0,)))
    assert torch.allclose(h[0], values.value("kernel"))
    stated = physics.prospective(examples, ["kernel"]).kernels.sample(Draws(0, (0,)))
    assert torch.allclose(stated[:, 0], GaussianKernel(3, 0.5).sample(Draws(0, (0,)))[:, 0])


BLUR = Blur(NoNoise(), GaussianKernel(3, 0.8))
REFUSED = [
    (BLUR, "physics.kernel", True, "would become the identity; take measured data"),
    (BLUR, "physics.*", True, "would become the identity"),
    (BLUR, "physics.kernle", False, r"did you mean 'physics.kernel'\? Available: physics.kernel"),
    (BLUR, "physics.noise.sigma", False, "matches nothing.*Available: physics.kernel"),
    (Blur(NoNoise(), MotionKernel(9, 5.0)), "physics.kernel", False, "MotionKernel.*give a file"),
    (Blur(NoNoise(), "data"), "physics.kernel", False, "it is data, with no value to start from"),
    (MRI(NoNoise(), RandomColumns()), "physics.mask", True, "RandomColumns.*LearnedColumns"),
    (MultiCoilMRI(NoNoise(), RandomColumns()), "physics.maps", False, "None.*a file of maps"),
    (Denoising(NoNoise()), "physics.*", False, "can be learned of Denoising: nothing"),
    (VaryingBlur(NoNoise(), GaussianKernel(3, (0.5, 1.0))), "physics.kernel", False, "nothing"),
]


@pytest.mark.parametrize(("physics", "name", "simulates", "words"), REFUSED)
def test_what_cannot_be_learned_is_refused_with_what_can(physics, name, simulates, words):
    with pytest.raises(ConfigError, match=words):
        learned(physics, name, simulates=simulates)


def test_nothing_named_says_what_can_be_learned():
    with pytest.raises(ConfigError, match=r"can be learned of Blur: physics\.kernel"):
        learned(BLUR)


def test_only_a_scalar_is_constrained():
    scan = Tomography(MEASURED, angles=7)
    _, values = learned(scan, "physics.axis", constrain={"physics.axis": (-3.0, 3.0)})
    with torch.no_grad():
        values.raw_axis += 100
    assert float(values.value("axis").detach()) == pytest.approx(3)
    with pytest.raises(ConfigError, match="may only be narrowed"):
        learned(BLUR, "physics.kernel", constrain={"physics.kernel": (0.0, 1.0)})


def test_a_fixed_kernel_that_is_not_normalised_starts_from_its_normalised_values():
    _, values = learned(Blur(MEASURED, FixedKernel(torch.ones(3, 3))), "physics.kernel")
    assert torch.allclose(values.value("kernel"), torch.full((1, 3, 3), 1 / 9))


@dataclass(frozen=True)
class Gain(Physics):
    """y = g x: a physics of a newcomer, in one place."""

    gain: float = 2.0
    is_deterministic = True

    learnable: ClassVar[Mapping[str, Learnable]] = {
        "gain": Learnable(
            positive,
            lambda own: torch.tensor(own.gain),
            "a number",
            lambda own, g: replace(own, gain=g),
        )
    }

    def sample(self, draws, shape):
        one = Denoising(NoNoise()).sample(draws, shape)
        if not isinstance(self.gain, torch.Tensor):
            return scaled(one, self.gain)
        return replace(scaled(one, 1.0), scale=self.gain.reshape(1))


def test_a_physics_of_a_user_declares_what_it_learns():
    physics, values = learned(Gain(MEASURED), "physics.gain")
    x = numbers(2, 1, 4, 4, dtype=torch.float32)
    optimizer = torch.optim.Adam(values.parameters(), 0.1)
    for _ in range(100):
        y, operator = physics.measure(Examples(x, 3 * x), Draws(0, (0, 1)))
        loss = (operator.A(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(values.value("gain").detach()) == pytest.approx(3, rel=1e-2)
