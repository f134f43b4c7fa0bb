"""Losses that need no images: unbiased, blind to the truth, and of use."""

from dataclasses import replace

import pytest
import torch

from tests import operator_properties as properties
from unfold.errors import ConfigError
from unfold.models.model import Solution
from unfold.models.unfolded import Unfolded
from unfold.physics.blur.blur import Blur
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.blur.super_resolution import SuperResolution
from unfold.physics.ct.tomography import Tomography
from unfold.physics.denoising import Denoising
from unfold.physics.inpainting import Inpainting
from unfold.physics.mixture import Mixture, PerFamilyNoise
from unfold.physics.mri.cartesian import MRI, MultiCoilMRI
from unfold.physics.mri.sampling import RandomColumns
from unfold.physics.noise.base import Gaussian, Laplace, NoNoise
from unfold.physics.noise.signal_dependent import Poisson, PoissonGaussian
from unfold.physics.wrapped import split
from unfold.random import Draws
from unfold.training.losses import (
    MSE,
    SURE,
    Consistency,
    Equivariant,
    MaskedMeasurement,
    RotationsAndFlips,
    Shifts,
    Splitting,
    Trial,
)

SIDE = 6
LOSSES = {
    "consistency": Consistency(),
    "sure": SURE(),
    "splitting": Splitting(0.6),
    "equivariant": Equivariant(),
    "turns": Equivariant(transform=RotationsAndFlips()),
    "robust": Equivariant(consistency=SURE()),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def solution(image):
    nothing = torch.zeros(len(image))
    return Solution(image, image, nothing, nothing)


def shrinking(factor):
    """x̂(y) = c A*y: linear, so that what a loss expects of it is known."""
    return lambda y, operator: solution(factor * operator.A_adjoint(y))


def trial(physics, count=4, solve=None, images=None, seed=0, x=None):
    g = torch.Generator().manual_seed(seed)
    if x is None:
        x = torch.rand(count, 1, SIDE, SIDE, generator=g, dtype=torch.float64)
    draws = Draws(seed, images or range(count))
    y, operator = physics.measure(x, draws)
    return Trial(y, operator, x, physics, draws, solve or shrinking(0.7))


def same_image(count):
    g = torch.Generator().manual_seed(5)
    return torch.rand(1, 1, SIDE, SIDE, generator=g, dtype=torch.float64).expand(count, 1, -1, -1)


def each(loss, case):
    """The loss of every image of a batch."""
    found = []
    for i in range(len(case.y)):
        at = torch.tensor([i])
        one = replace(
            case,
            y=case.y[at],
            truth=case.truth[at],
            operator=case.operator.take(at, len(case.y)),
            draws=case.draws.take([i]),
        )
        found.append(loss.value(loss.reconstruct(one), one))
    return torch.stack(found)


BRIGHT, DARK = 1.0, 1e-3
MEASURED = {
    "gaussian": (Denoising(Gaussian(0.3)), BRIGHT),
    "levels": (Denoising(Gaussian((0.1, 0.5))), BRIGHT),
    "blur": (Blur(Gaussian(0.3), GaussianKernel(3, 0.8)), BRIGHT),
    "poisson": (Denoising(Poisson(20.0)), BRIGHT),
    "both": (Denoising(PoissonGaussian(gain=30.0, sigma=0.2)), BRIGHT),
    "both, dark": (Denoising(PoissonGaussian(gain=5.0, sigma=0.2)), DARK),
    "complex": (MRI(Gaussian(0.3), RandomColumns(2.0)), BRIGHT),
    "mixture": (
        Mixture(
            PerFamilyNoise(),
            {"low": Denoising(Gaussian(0.1)), "holes": Inpainting(Gaussian(0.4), 0.5)},
        ),
        BRIGHT,
    ),
}


@pytest.mark.parametrize(("physics", "light"), MEASURED.values(), ids=MEASURED)
def test_sure_is_unbiased(physics, light):
    """Of a linear x̂ the difference is exact, and only the noise is random: 5 standard errors.

    Where nothing but what is read out is seen, half of y is below 0, and so is its variance.
    """
    SURE().check(physics, Unfolded())
    differences, naive = [], []
    for k in range(40):
        case = trial(physics, 50, images=range(50 * k, 50 * k + 50), x=light * same_image(50))
        answer = case.solve(case.y, case.operator)
        clean, h = (case.observed(x) for x in (case.truth, answer.image))
        want = (h - clean).abs().square().mean()
        differences.append(SURE().value(answer, case) - want)
        naive.append(Consistency().value(answer, case) - want)
    error = torch.stack(differences).std() / 40**0.5
    assert torch.stack(differences).mean().abs() < 5 * error
    assert torch.stack(naive).mean().abs() > 20 * error


def test_sure_prefers_the_factor_of_least_error():
    """Of factors times y, the one that is nearest to the images, and not 1, which fits y."""
    physics = Denoising(Gaussian(0.5))
    factors = torch.linspace(0, 1.2, 25, dtype=torch.float64)
    case = trial(physics, 400)
    risks, errors, fits = [], [], []
    for factor in factors:
        own = replace(case, solve=shrinking(factor))
        answer = own.solve(own.y, own.operator)
        risks.append(SURE().value(answer, own))
        errors.append(MSE().value(answer, own))
        fits.append(Consistency().value(answer, own))
    best = [int(torch.stack(values).argmin()) for values in (risks, errors, fits)]
    assert abs(best[0] - best[1]) <= 1 and abs(float(factors[best[2]]) - 1) < 0.06


@every_loss
@pytest.mark.parametrize(
    "physics",
    [Inpainting(Gaussian(0.1), 0.5), MRI(Gaussian(0.1), RandomColumns(2.0))],
    ids=["inpainting", "mri"],
)
def test_self_supervised_losses_do_not_use_images(loss, physics):
    case = trial(physics)
    blind = replace(case, truth=torch.full_like(case.truth, float("nan")))
    values = [loss.value(loss.reconstruct(c), c) for c in (case, blind)]
    assert values[0].isfinite() and torch.equal(values[0], values[1])


@every_loss
def test_the_loss_of_an_image_does_not_depend_on_its_batch(loss):
    """The mean over a batch is that of its images, whatever stands next to them, and in order."""
    physics = Denoising(Gaussian(0.1))
    full, numbers = trial(physics), (3, 1)
    alone = each(loss, full)
    order = torch.tensor(numbers)
    some = replace(full, y=full.y[order], truth=full.truth[order], draws=full.draws.take(numbers))
    assert torch.equal(each(loss, some), alone[order])
    if not isinstance(loss, Splitting):  # which is a mean over entries, not over images
        together = loss.value(loss.reconstruct(full), full)
        assert torch.allclose(together, alone.mean(), rtol=1e-12)


@every_loss
def test_draws_change_with_the_epoch_only(loss):
    ramp = torch.linspace(0, 1, SIDE, dtype=torch.float64)
    case = trial(Denoising(Gaussian(0.1)), solve=lambda y, A: solution(ramp * y * y))
    later = replace(case, draws=replace(case.draws, epoch=1))
    one, again, other = (loss.value(loss.reconstruct(c), c) for c in (case, case, later))
    assert torch.equal(one, again)
    assert isinstance(loss, Consistency) or not torch.equal(one, other)


def test_splitting_predicts_some_entries_from_the_others():
    """What was kept has no say in the loss, and what was left out none in the reconstruction."""
    seen = []

    def solve(y, operator):
        seen.append((y, operator))
        return solution(operator.A_adjoint(y))

    case, loss = trial(Denoising(Gaussian(0.1)), 300, solve=solve), Splitting(0.8)
    answer = loss.reconstruct(case)
    (y, operator), kept = seen[0], loss._parts(case)[0]
    assert abs(float(kept.mean()) - 0.8) < 0.02
    assert torch.equal(y, kept * case.y) and torch.equal(operator.A(case.truth), kept * case.truth)
    other = replace(case, y=torch.where(kept == 1, 9.0, case.y))
    value = loss.value(answer, case)
    assert torch.equal(value, loss.value(answer, other))
    assert torch.allclose(value, case.y[kept == 0].square().mean())


SHAPES = Mixture(
    Gaussian(0.2),
    {
        "blur": Blur(NoNoise(), GaussianKernel(3, 0.8)),
        "coarse": SuperResolution(NoNoise(), GaussianKernel(3, 0.8), 2),
        "fourier": MRI(NoNoise(), RandomColumns(2.0), real_images=True),
        "rays": Tomography(NoNoise(), 5),
    },
)


def own_errors(case, image):
    """Of each image of a mixture |Ax − y|² over the n numbers it has, and which were kept."""
    kept, found = LOSSES["splitting"]._parts(case)[0], []
    for i in range(len(case.y)):
        (packed,) = case.operator.take(torch.tensor([i]), len(case.y)).operators
        v = packed.operator.A(image[i : i + 1])
        error = (v - packed.post_adjoint(case.y[i : i + 1])).abs().square().flatten()
        found.append((error, kept[i, : len(error)]))
    return found


def test_short_measurements_have_equal_weight():
    """The zeros that fill up the rows of a mixture are not averaged over."""
    answer = solution(torch.full((12, 1, SIDE, SIDE), 0.5, dtype=torch.float64))
    case = trial(SHAPES, 12, solve=lambda y, operator: answer)
    own = own_errors(case, answer.image)
    assert {len(error) for error, _ in own} == {9, 36, 45}
    wanted = torch.stack([error.mean() for error, _ in own]).mean()
    assert torch.allclose(Consistency().value(answer, case), wanted, rtol=1e-12)
    assert torch.allclose(SURE().value(answer, case), wanted - 0.2**2, rtol=1e-12)
    left = [(error[kept == 0], len(error)) for error, kept in own]
    summed, count = (sum(f(e) / n for e, n in left) for f in (torch.sum, len))
    assert torch.allclose(LOSSES["splitting"].value(answer, case), summed / count, rtol=1e-12)


@pytest.mark.parametrize(
    "physics", [Denoising(Gaussian(0.1)), MRI(Gaussian(0.1), RandomColumns(2.0))]
)
def test_measurements_of_one_shape_have_one_weight(physics):
    case = trial(physics, 5)
    assert (case.weights == 1).all() and case.weights.shape[1:] == case.y.shape[1:]
    error = (case.observed(case.truth) - case.y).abs().square()
    assert torch.equal(Consistency().value(solution(case.truth), case), error.mean())


def test_a_masked_measurement_is_a_linear_operator():
    A = MRI(NoNoise(), RandomColumns(2.0), real_images=True).sample(
        Draws(0, range(3), dtype=torch.float64), (1, 5, 7)
    )
    kept = (torch.rand(3, 1, 5, 7, generator=torch.Generator().manual_seed(1)) < 0.5).double()
    rows = MaskedMeasurement(A, kept)
    assert rows.batch == 3 and rows.take(torch.tensor([2, 0]), 3).batch == 2
    properties.assert_adjoint(rows)
    properties.assert_linear(rows)
    properties.assert_batch_invariant(rows)


@pytest.mark.parametrize("transform", [Shifts(), RotationsAndFlips()])
def test_transforms_permute_pixels(transform):
    draws = Draws(0, range(64))
    x = torch.arange(64.0 * 36).reshape(64, 1, 6, 6)
    moved = transform.apply(x, draws)
    assert torch.equal(moved.flatten(1).sort(1).values, x.flatten(1))
    assert torch.equal(transform.apply(x[5:7], draws.take([5, 6])), moved[5:7])
    kinds = {tuple((moved[i] - x[i, 0, 0, 0]).flatten().tolist()) for i in range(64)}
    assert len(kinds) == 8 if isinstance(transform, RotationsAndFlips) else len(kinds) > 24


def test_images_that_are_not_square_are_rotated_by_180_degrees():
    x = torch.arange(30.0).expand(64, 1, 30).reshape(64, 1, 5, 6)
    moved = RotationsAndFlips().apply(x, Draws(0, range(64)))
    assert moved.shape == x.shape and len({tuple(m.flatten().tolist()) for m in moved}) == 4


def test_a_perfect_reconstruction_has_no_equivariant_loss():
    """Where A is inverted exactly; and one that ignores a part of the image is found."""
    case = trial(Denoising(NoNoise()), solve=lambda y, A: solution(A.A_adjoint(y)))
    assert float(Equivariant().value(loss_free(case), case)) == 0
    mask = torch.ones(1, 1, SIDE, SIDE, dtype=torch.float64)
    mask[..., 0] = 0
    blind = replace(case, solve=lambda y, A: solution(mask * A.A_adjoint(y)))
    y = mask * case.y
    masked = replace(blind, y=y)
    moved = Equivariant(consistency=Consistency())
    assert float(moved.value(solution(y), masked)) > 1e-3


def loss_free(case):
    return case.solve(case.y, case.operator)


def test_invalid_losses_are_refused():
    with pytest.raises(ConfigError, match=r"SURE needs noise that is Gaussian.*Laplace.*Splitting"):
        Equivariant(consistency=SURE()).check(Denoising(Laplace(0.1)), Unfolded())
    with pytest.raises(ConfigError, match=r"Mixture has PerFamilyNoise"):
        SURE().check(Mixture(PerFamilyNoise(), {"one": Denoising(Laplace(0.1))}), Unfolded())
    with pytest.raises(ConfigError, match=r"SURE.step = 0.0: must be positive"):
        SURE(0.0)
    with pytest.raises(ConfigError, match=r"Splitting.keep = 1.0: must be in \(0, 1\)"):
        Splitting(1.0)
    with pytest.raises(ConfigError, match=r"Equivariant.weight = -1.0: must be zero or positive"):
        Equivariant(-1.0)


def test_frequencies_that_were_not_acquired_are_in_neither_part():
    """Coils share a mask, and the centre is kept; the rest is what was acquired, entry by entry."""
    physics = MultiCoilMRI(Gaussian(0.1), RandomColumns(2.0, 0.2))
    case = trial(physics, 3, x=torch.rand(3, 1, 12, 16, dtype=torch.float64))
    kept, left = Splitting(0.5)._parts(case)
    assert kept.shape == left.shape == (3, 1, 1, 12, 16)
    assert torch.equal(kept.maximum(left), case.operator.acquired.expand_as(kept))
    assert bool((left.sum((1, 2, 3, 4)) > 10).all())
    near = torch.arange(4) - 2
    middle = case.operator.acquired.expand_as(kept)[..., near[:, None], near]
    for part in (kept, left):
        assert torch.equal(part[..., near[:, None], near], middle)
    assert float((kept * left).sum()) == float(middle.sum())
    inside = MaskedMeasurement(case.operator, kept)
    again, _ = split(inside, case.y, case.own.within("again"), 0.5)
    assert torch.equal(again, again * kept) and float(again.sum()) < float(kept.sum())
