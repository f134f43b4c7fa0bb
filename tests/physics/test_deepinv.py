"""deepinv's operators and denoisers as ours; skipped where the package is not installed."""

import importlib.util
from functools import partial

import pytest
import torch

from tests.config.folder import checked, refusal
from tests.operator_properties import assert_adjoint, assert_nonlinear, gap
from unfold.denoisers.deepinv_denoiser import DeepinvDenoiser
from unfold.errors import ConfigError, ShapeError
from unfold.extras import deepinv
from unfold.physics.blur.convolution import CircularConvolution
from unfold.physics.custom.deepinv import DeepinvPhysics
from unfold.physics.noise.base import Gaussian
from unfold.random import Draws

HERE = importlib.util.find_spec("deepinv") is not None
needed = pytest.mark.skipif(not HERE, reason="deepinv is not installed")
lacking = pytest.mark.skipif(HERE, reason="deepinv is installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
DRAWS = Draws(0, range(3), dtype=torch.float64)


def physics_of(name: str, generator=None, **arguments) -> DeepinvPhysics:
    made = partial(getattr(deepinv().physics, name), **arguments)
    return DeepinvPhysics(Gaussian(0.02), made, generator)


def motion():
    return partial(deepinv().physics.generator.MotionBlurGenerator, psf_size=(5, 5))


@lacking
def test_what_is_missing_is_said_with_the_remedy():
    text = refusal("physics=deepinv", "prior=deepinv")
    assert text.count("needs the package 'deepinv', which is not installed: pip install") == 2
    with pytest.raises(ConfigError, match=r"pip install -e '.\[deepinv\]' torch=="):
        DeepinvPhysics(Gaussian(0.02), dict)


@needed
@pytest.mark.parametrize(
    ("name", "arguments"),
    [("Inpainting", {"mask": 0.5}), ("Downsampling", {"filter": "bicubic"}), ("Decolorize", {})],
)
def test_an_operator_is_linear_and_has_its_adjoint(name, arguments):
    physics, x = physics_of(name, **arguments), DRAWS.normal("x", (3, 8, 8))
    operator = physics.sample(DRAWS, (3, 8, 8))
    v = DRAWS.normal("v", operator.measurement_shape)
    a, b = (operator.A(x) * v).sum(), (x * operator.A_adjoint(v)).sum()
    assert abs(a - b) < 1e-5 * operator.A(x).norm() * v.norm()
    solved = operator.solve_normal(x, 2.0)
    assert gap(solved + 2 * operator.normal(solved), x) < 1e-9
    assert torch.equal(operator.A(x), physics.sample(DRAWS, (3, 8, 8)).A(x))


@needed
def test_a_generator_samples_images_independently():
    physics, shape = physics_of("BlurFFT", motion()), (1, 8, 8)
    operator = physics.sample(DRAWS, shape)
    x = DRAWS.normal("x", shape)
    alone = physics.sample(DRAWS.take([2]), shape)
    assert gap(operator.A(x)[2:], alone.A(x[2:])) < 1e-12
    kernel = dict(zip(operator.names, operator.held, strict=True))["filter"]
    assert kernel.shape == (3, 1, 5, 5) and gap(kernel[0], kernel[1]) > 0.1
    assert gap(operator.A(x), CircularConvolution(kernel, shape).A(x)) < 1e-6
    part = operator.take(torch.tensor([1]), 3)
    assert gap(part.A(x[1:2]), operator.A(x)[1:2]) < 1e-12
    state = torch.get_rng_state()
    physics.sample(DRAWS, shape)
    assert torch.equal(state, torch.get_rng_state())


@needed
def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ConfigError, match="Linear: a Physics of deepinv is expected"):
        DeepinvPhysics(Gaussian(0.02), partial(torch.nn.Linear, 8, 8)).sample(DRAWS, (1, 8, 8))
    with pytest.raises(ConfigError, match=r"Inpainting.noise_model: leave it out; the noise is"):
        physics_of("Inpainting", mask=0.5, noise_model=deepinv().physics.GaussianNoise(0.1))
    with pytest.raises(ConfigError, match="MultiCoilMRI refuses its arguments: sigpy is required"):
        physics_of("MultiCoilMRI", coil_maps=3).sample(DRAWS, (2, 8, 8))
    with pytest.raises(ShapeError, match="Haze does not act on images of"):
        physics_of("Haze").sample(DRAWS, (3, 8, 8))
    with pytest.raises(ConfigError, match="a measurement for each of 2 images is expected"):
        physics_of("Physics", A=lambda x: x.mean(0)).sample(DRAWS, (1, 8, 8))
    with pytest.raises(ShapeError, match="Decolorize does not act on images of"):
        physics_of("Decolorize").sample(DRAWS, (2, 8, 8))
    for target in ("physics.forward.Tensor", "models.base.np.load", "optim.PGD", "utils.load_url"):
        assert "physics.operator._target_" in refusal(
            "physics=deepinv", f"physics.operator._target_=deepinv.{target}"
        )
    assert "msk = 1: unknown key, did you mean 'mask'?" in refusal(
        "physics=deepinv", "+physics.operator.msk=1"
    )


@needed
def test_a_noise_that_nobody_named_is_left_out():
    x = DRAWS.uniform("x", (1, 8, 8))
    operator = physics_of("Denoising").sample(DRAWS, (1, 8, 8))
    assert operator.linear and torch.equal(operator.A(x), x)


@needed
@pytest.mark.parametrize("name", ["PhaseRetrieval", "RandomPhaseRetrieval"])
def test_phase_retrieval_has_its_derivative(name):
    """2 Re B*(Bx · u) by hand; the second takes complex images, and real ones as such."""
    shape, x, v = (1, 4, 4), DRAWS.uniform("x", (1, 4, 4)), DRAWS.normal("v", (1, 4, 4))
    compressed = deepinv().physics.CompressedSensing(m=40, img_size=shape)
    arguments = {"B": compressed} if name == "PhaseRetrieval" else {"m": 40}
    operator = physics_of(name, **arguments).sample(DRAWS, shape)
    assert not operator.linear and not operator.complex_measurements
    B = operator.physics.B._A.reshape(40, 16)
    Bx = x.flatten(1).to(B.dtype) @ B.mT
    assert gap(operator.A(x), Bx.abs() ** 2) < 1e-12
    u = DRAWS.normal("u", (40,))
    want = 2 * ((Bx * u) @ B.conj()).real.reshape(x.shape)
    assert gap(operator.vjp(x, u), want) < 1e-12
    Jv = 2 * (Bx.conj() * (v.flatten(1).to(B.dtype) @ B.mT)).real
    assert gap(operator.linearize(x).A(v), Jv) < 1e-12
    assert operator.norm_squared.dtype == torch.float64
    assert_nonlinear(operator)


@needed
def test_a_list_of_measurements_is_one_vector():
    x = DRAWS.normal("x", (3, 8, 8))
    operator = physics_of("Pansharpen").sample(DRAWS, (3, 8, 8))
    assert operator.measurement_shape == (3 * 2 * 2 + 8 * 8,)
    colour, grey = operator.physics.A(x)
    y = operator.A(x)
    assert torch.equal(y[:, :12], colour.flatten(1)) and torch.equal(y[:, 12:], grey.flatten(1))
    assert_adjoint(operator)
    parts = [
        deepinv().physics.Physics(A=lambda x: x**2),
        deepinv().physics.Physics(A=lambda x: x[:, :, 0]),
    ]
    both = physics_of("StackedPhysics", physics_list=parts).sample(DRAWS, (1, 4, 4))
    x, u = DRAWS.normal("x", (1, 4, 4)), DRAWS.normal("u", (20,))
    want = 2 * x * u[:, :16].reshape(x.shape)
    want[:, :, 0] += u[:, 16:].reshape(3, 1, 4)
    assert gap(both.vjp(x, u), want) < 1e-12


@needed
def test_a_wrong_adjoint_warns():
    """Of deepinv 0.5.0 that of CompressiveSpectralImaging is not the adjoint of its A."""
    with pytest.warns(UserWarning, match="its adjoint is not that of its A, but 1[0-9]+% apart"):
        physics_of("CompressiveSpectralImaging").sample(DRAWS, (5, 16, 16))


@needed
def test_a_physics_without_a_derivative_is_refused():
    places = torch.rand(2, 4, generator=torch.Generator().manual_seed(0)) + 1
    scattering = physics_of("Scattering", transmitters=places, receivers=places)
    with pytest.raises(ConfigError, match="Scattering: its derivative cannot be taken: "):
        scattering.sample(DRAWS, (1, 8, 8))


@needed
def test_a_denoiser_knows_whether_it_takes_a_level():
    models = deepinv().models
    plain = DeepinvDenoiser(
        partial(models.DnCNN, in_channels=1, out_channels=1, depth=3, nf=4, pretrained=None), 1
    )
    median = DeepinvDenoiser(models.MedianFilter, 1)
    television = DeepinvDenoiser(partial(models.TVDenoiser, n_it_max=20), 1)
    assert not plain.uses_sigma and not median.uses_sigma and television.uses_sigma
    assert not plain.trained
    v, levels = torch.rand(2, 1, 16, 16), torch.tensor([0.05, 0.1]).reshape(2, 1, 1, 1)
    both = television(v, levels)
    assert gap(both[1:], television(v[1:], 0.1)) < 1e-4
    with pytest.raises(ConfigError, match="does not act on images of 2 channels"):
        DeepinvDenoiser(partial(models.DnCNN, depth=3, nf=4, pretrained=None), 2)
    with pytest.raises(ConfigError, match="a denoiser of deepinv is needed"):
        DeepinvDenoiser(torch.nn.Identity, 1)


@needed
def test_both_are_chosen_by_name():
    (job,) = checked("physics=deepinv", "prior=deepinv")
    assert job.groups["prior"].arguments["denoiser"].target is DeepinvDenoiser
