"""Every physics in configs/physics: its operators, its draws, its composition with any noise."""

import dataclasses
import itertools

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor

from tests import operator_properties as properties
from tests.physics.instances import NAMES, NOISES, OPERATORS, composed, physics_of
from unfold.errors import ConfigError, DataError, ShapeError
from unfold.physics.base import Physics
from unfold.physics.blur.blur import Blur, ValidBlur
from unfold.physics.blur.kernels import GaussianKernel, MotionKernel
from unfold.physics.blur.super_resolution import SuperResolution
from unfold.physics.denoising import Denoising, Identity
from unfold.physics.inpainting import Inpainting
from unfold.physics.mixture import PerFamilyNoise
from unfold.physics.noise.base import Gaussian, NoNoise
from unfold.physics.noise.signal_dependent import Poisson
from unfold.pytree import tensors
from unfold.random import Draws

every_physics = pytest.mark.parametrize("name", NAMES)
OTHER_NOISE = {"low_dose_tomography", "pet"}  # their operators are those of tomography
every_operator = pytest.mark.parametrize("name", [n for n in NAMES if n not in OTHER_NOISE])
SHAPES = [(1, 16, 16), (3, 16, 16), (1, 24, 24), (3, 24, 24), (2, 15, 17)]
SMALL = [(1, 8, 8), (2, 5, 7)]
MANY_MEASUREMENTS = {
    "fan_beam_tomography",
    "limited_angle_tomography",
    "low_dose_tomography",
    "multicoil_mri",
    "pet",
    "phase_retrieval",
    "random_phase_retrieval",
    "tomography",
}  # of every pixel: their matrices are tall
REAL = {
    "poisson",
    "poisson_gaussian",
    "quantisation",
    "rician",
    "salt_and_pepper",
    "transmission",
}
COUNTS = {"poisson", "poisson_gaussian"}  # of photons, which are not negative
ILL_CONDITIONED = {
    "block_compressed_sensing",
    "chain",
    "every_operator",
    "every_operator_colour",
    "fan_beam_tomography",
    "limited_angle_tomography",
    "mixed_shapes",
    "multicoil_mri",
    "padded_blur",
    "random_angle_tomography",
    "stack",
    "tomography",
    "valid_blur",
    "varying_blur",
}  # A⁺ would amplify by 1e4 and more: CGLS warns


def draws(count: int = 3, **changes: object) -> Draws:
    return dataclasses.replace(Draws(seed=0, images=range(count), dtype=torch.float64), **changes)


def accepts(physics: Physics, shape: tuple[int, int, int]) -> bool:
    try:
        physics.sample(draws(1), shape)
    except ShapeError:
        return False
    return True


def shapes(name: str) -> list[tuple[int, int, int]]:
    """One shape on which most physics are tried, and an odd one where it is accepted."""
    tried = SMALL if name in MANY_MEASUREMENTS else SHAPES
    legal = [shape for shape in tried if accepts(physics_of(name), shape)]
    assert legal, "a physics must accept images of 16 x 16 or 24 x 24 pixels"
    return [legal[0], *(shape for shape in legal[1:] if shape == tried[-1])]


def images(count: int, shape: tuple[int, ...]) -> Tensor:
    g = torch.Generator().manual_seed(5)
    return torch.rand(count, *shape, generator=g, dtype=torch.float64)


SINGLE = {torch.float64: torch.float32, torch.complex128: torch.complex64}


@every_operator
def test_operators_have_their_properties(name: str):
    physics = physics_of(name)
    for shape in shapes(name):
        operator = physics.sample(draws(2), shape)
        assert operator.image_shape == shape
        if not operator.linear:
            properties.assert_nonlinear(operator)
            continue
        kind = torch.complex128 if operator.complex_images else torch.float64
        properties.assert_adjoint(operator, dtype=kind)
        properties.assert_dense_adjoint(operator, dtype=kind)
        properties.assert_linear(operator, dtype=kind)
        properties.assert_norm(operator, dtype=kind)
        properties.assert_solves(operator, gamma=3.0, dtype=kind)
        if name not in ILL_CONDITIONED:
            properties.assert_keeps_kind(operator, dtype=kind)
            properties.assert_pseudo_inverse(operator, dtype=kind)
            properties.assert_batch_invariant(operator, dtype=kind)
        single = physics.sample(draws(2, dtype=torch.float32), shape)
        properties.assert_adjoint(single, dtype=SINGLE[kind])


@every_physics
def test_an_operator_depends_only_on_its_image(name: str):
    physics = physics_of(name)
    x = images(4, shapes(name)[0])
    y, _ = physics.measure(x, draws(4))
    order = [2, 0, 3]
    again, _ = physics.measure(x[order], draws(4).take(order))
    assert properties.gap(again, y[order]) < 1e-12
    one, _ = physics.measure(x[3:], draws(4).take([3]))
    assert properties.gap(one, y[3:]) < 1e-12
    other, _ = physics.measure(x, draws(4, epoch=1))
    assert properties.gap(other, y) > 1e-3


@every_physics
def test_draws_are_bit_identical_in_every_batch(name: str):
    """What is measured may differ in its last bits, as sums do with their batch; no draw does."""
    physics, shape, own = physics_of(name), shapes(name)[0], draws(5)
    whole = physics.sample(own, shape)
    clean = physics.observe(whole.A(images(5, shape)))
    noise = NoNoise() if isinstance(physics.noise, PerFamilyNoise) else physics.noise
    noisy = noise.apply(clean, own)
    for i in range(5):
        alone = physics.sample(own.take([i]), shape)
        pairs = zip(tensors(whole.take(torch.tensor([i]), 5)), tensors(alone), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert torch.equal(noise.apply(clean[[i]], own.take([i])), noisy[[i]])


@every_physics
def test_deterministic_physics_always_sample_the_same_operator(name: str):
    physics = physics_of(name)
    shape = shapes(name)[0]
    first, second = (physics.sample(draws(8, seed=s), shape) for s in (0, 1))
    x = images(8, shape)
    assert physics.is_deterministic == bool(torch.equal(first.A(x), second.A(x)))
    assert first.batch == (1 if physics.is_deterministic else 8)
    if physics.is_deterministic:
        if "shape" in {f.name for f in dataclasses.fields(physics)}:  # not told by a measurement
            physics = dataclasses.replace(physics, shape=shape)
        y = physics(x)
        operator = physics.operator_for(y)
        if name == "block_compressed_sensing":  # whose measurements are those of whole blocks
            shape, x = (1, 33, 33), images(8, (1, 33, 33))
        assert operator.image_shape == shape
        assert operator.A(x).shape == y.shape
    else:
        with pytest.raises(ConfigError, match="is random: pass the operator that measured y"):
            physics.operator_for(physics(x))


@pytest.mark.parametrize(
    ("name", "noise"), list(itertools.product(sorted({*NAMES} - OTHER_NOISE), NOISES))
)
def test_every_noise_goes_with_every_physics(name: str, noise: str):
    physics = physics_of(name).with_noise(physics_of("denoising", f"physics/noise={noise}").noise)
    x = images(2, shapes(name)[0]).float()
    quiet = physics.with_noise(NoNoise())
    assert type(quiet) is type(physics)
    clean = physics.observe(physics.sample(draws(2).like(x).within("operator"), x.shape[1:]).A(x))
    assert torch.equal(quiet.measure(x, draws(2)).y, clean)
    negative = not clean.is_complex() and float(clean.min()) < -0.01
    if (noise in REAL and clean.is_complex()) or (noise in COUNTS and negative):
        with pytest.raises((ConfigError, DataError), match=r"use Gaussian"):
            physics.measure(x, draws(2))
        return
    measured = physics.measure(x, draws(2))
    assert measured.y.dtype == clean.dtype
    assert torch.equal(clean, measured.y) == (noise == "none")


def test_the_noise_is_set_from_the_command_line():
    physics = physics_of("motion_blur", "physics.noise.sigma=0.05", "physics.kernel.length=9")
    assert physics.noise == Gaussian(0.05)
    assert physics.kernel == MotionKernel(size=15, length=9.0, bend=2.0)
    assert physics_of("denoising", "physics.noise.sigma=[0.0,0.1]").noise == Gaussian((0.0, 0.1))
    assert physics_of(
        "inpainting", "physics/noise=poisson", "physics.noise.gain=7"
    ).noise == Poisson(7.0)


def test_several_operators_keep_their_own_noise():
    """What an evaluation over operators composes: the nested group lands inside each of them."""
    config = composed(
        "+physics@operators.gaussian_blur=gaussian_blur",
        "+physics@operators.denoising=denoising",
        "physics/noise@operators.denoising.noise=poisson",
    )
    assert set(config) == {"operators"}
    blur, denoising = (instantiate(config.operators[n]) for n in ("gaussian_blur", "denoising"))
    assert blur.noise == Gaussian(0.02)
    assert denoising == Denoising(Poisson(100.0))


def test_an_evaluation_file_may_list_them(tmp_path):
    from hydra import compose, initialize_config_dir

    from tests.physics.instances import CONFIGS

    (tmp_path / "all.yaml").write_text(
        "defaults:\n"
        "  - /physics@operators.gaussian_blur: gaussian_blur\n"
        "  - /physics@operators.super_resolution: super_resolution\n"
        "  - _self_\n"
        f"hydra:\n  searchpath: ['file://{CONFIGS}']\n"
    )
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        config = compose("all", overrides=["operators.super_resolution.noise.sigma=0.3"])
    assert instantiate(config.operators.super_resolution).noise == Gaussian(0.3)
    assert instantiate(config.operators.gaussian_blur).noise == Gaussian(0.02)


def test_denoising_needs_no_argument():
    physics = Denoising()
    assert physics.noise == Gaussian(0.05)
    x = images(2, (3, 4, 5))
    assert 0 < float((physics(x) - x).std()) < 0.1
    assert torch.equal(physics(x), physics(x))
    assert isinstance(physics.operator_for(x), Identity)


def test_a_mask_is_shared_by_the_channels_and_never_empty():
    operator = Inpainting(NoNoise(), keep=1e-12).sample(draws(50), (3, 4, 4))
    seen = operator.mask.sum((2, 3))
    assert torch.equal(seen, torch.ones_like(seen))
    assert torch.equal(operator.mask[:, 0], operator.mask[:, 2])
    everything = Inpainting(NoNoise(), keep=1.0)
    assert everything.is_deterministic and everything.sample(draws(5), (2, 4, 4)).batch == 1


def test_the_fraction_of_pixels_kept():
    count = 100_000
    mask = Inpainting(NoNoise(), keep=0.3).sample(draws(1), (1, 250, 400)).mask
    assert abs(float(mask.mean()) - 0.3) < 5 * (0.3 * 0.7 / count) ** 0.5
    several = Inpainting(NoNoise(), keep=(0.2, 0.8)).sample(draws(200), (1, 40, 40)).mask
    kept = several.mean((1, 2, 3))
    assert 0.15 < float(kept.min()) < 0.3 and 0.7 < float(kept.max()) < 0.85
    assert abs(float(kept.mean()) - 0.5) < 5 * 0.6 / 12**0.5 / 200**0.5


def test_the_image_behind_a_measurement():
    kernel = GaussianKernel(5, 1.0)
    for physics in (ValidBlur(NoNoise(), kernel), SuperResolution(NoNoise(), kernel, 3)):
        operator = physics.sample(draws(), (2, 12, 9))
        assert physics.image_shape(operator.measurement_shape) == (2, 12, 9)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: Inpainting(NoNoise(), keep=1.5),
            ConfigError,
            r"Inpainting.keep = 1.5: must be in \(0, 1\]",
        ),
        (lambda: Inpainting(NoNoise(), keep=-0.2), ConfigError, "Inpainting.keep = -0.2"),
        (lambda: Inpainting(NoNoise(), keep=0), ConfigError, "Inpainting.keep = 0"),
        (
            lambda: SuperResolution(NoNoise(), GaussianKernel(3, 1.0), 0),
            ConfigError,
            "SuperResolution.factor = 0: must be a whole number",
        ),
        (
            lambda: SuperResolution(NoNoise(), GaussianKernel(3, 1.0), 2).sample(
                draws(), (1, 9, 8)
            ),
            ShapeError,
            r"9 x 8 pixels is not divisible by the factor 2; crop the images to multiples of 2",
        ),
        (
            lambda: Blur(NoNoise(), GaussianKernel(9, 1.0)).sample(draws(), (1, 12, 8)),
            ShapeError,
            r"a kernel of 9 x 9 pixels is larger than the image of 12 x 8",
        ),
        (
            lambda: ValidBlur(NoNoise(), GaussianKernel(9, 1.0)).sample(draws(), (1, 8, 12)),
            ShapeError,
            r"a kernel of 9 x 9 pixels is larger than the image of 8 x 12",
        ),
    ],
)
def test_bad_physics_say_what_is_wrong(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("name", "x", "words"),
    [
        (
            "circular",
            torch.zeros(2, 3, 7, 8),
            r"CircularConvolution.A expects \(batch, 1, 7, 8\), got",
        ),
        ("circular", torch.zeros(1, 7, 8), r"CircularConvolution.A expects \(batch, 1, 7, 8\)"),
        ("circular", torch.zeros(0, 1, 7, 8), r"the batch holds 0"),
        (
            "circular",
            torch.zeros(1, 1, 7, 8, dtype=torch.int32),
            r"floating-point .* got torch.int32",
        ),
        ("mask", torch.zeros(2, 2, 5, 7), r"has 3 samples and the batch holds 2"),
        ("mask", torch.zeros(1, 2, 5, 7), r"has 3 samples and the batch holds 1"),
    ],
)
def test_bad_images_are_refused(name: str, x: Tensor, words: str):
    with pytest.raises(Exception, match=words) as caught:
        OPERATORS[name]._expect("A", x, OPERATORS[name].image_shape)
    assert caught.type is ShapeError
