"""Projections by ASTRA beside our own and beside its own products; skipped without ASTRA."""

import importlib.util

import numpy as np
import pytest
import torch

from tests import operator_properties as properties
from tests.config.folder import refusal
from tests.physics.test_tomography import discs
from unfold.errors import ConfigError
from unfold.physics.ct import astra as astra_tomography
from unfold.physics.ct.astra import AstraFanBeamTomography, AstraTomography
from unfold.physics.ct.projector import Projector
from unfold.physics.ct.tomography import FanBeamTomography, Tomography
from unfold.physics.noise.base import NoNoise
from unfold.random import Draws

HERE = importlib.util.find_spec("astra") is not None
needed = pytest.mark.skipif(not HERE, reason="the ASTRA toolbox is not installed")
lacking = pytest.mark.skipif(HERE, reason="the ASTRA toolbox is installed")
DRAWS = Draws(seed=3, images=range(2), dtype=torch.float64)
QUIET = NoNoise()
PARALLEL = [(AstraTomography, Tomography, name) for name in ("strip", "linear", "line")]
FAN = [(AstraFanBeamTomography, FanBeamTomography, name) for name in ("strip", "line")]
CASES = [*PARALLEL, *FAN]


@needed
@pytest.mark.parametrize(("kind", "plain", "name"), CASES)
def test_it_sees_what_our_own_projector_sees(kind, plain, name):
    """Angles, detectors and lengths agree; how a ray weighs pixels matters less on a finer grid."""
    apart = []
    for side in (24, 96):
        shape = (1, side - 3, side + 4)
        x = torch.from_numpy(discs(side + 4, side / 8))[None, None, : side - 3]
        ours = plain(QUIET, 15).sample(DRAWS, shape)
        own = kind(QUIET, 15, projector=name).sample(DRAWS, shape)
        assert own.measurement_shape == ours.measurement_shape
        y = ours.A(x)
        apart.append(float((own.A(x) - y).norm() / y.norm()))
        x_again = own.filtered_back_projection(own.A(x))
        assert properties.gap(x_again, ours.filtered_back_projection(y)) < 0.05
    assert apart[1] < (1e-5 if name == "linear" else min(0.01, apart[0]))


@needed
@pytest.mark.parametrize("first", [0.0, 20.0])
def test_its_products_are_those_of_astra(first: float):
    import astra

    physics = AstraTomography(QUIET, 7, arc=100.0, first=first)
    operator = physics.sample(DRAWS, (1, 9, 12))
    x = DRAWS.take([0]).uniform("x", (1, 9, 12))
    angles = np.deg2rad(first + np.arange(7) * 100 / 7)
    scan = astra.create_proj_geom("parallel", 1.0, 15, angles)
    made = astra.create_projector("strip", scan, astra.create_vol_geom(9, 12))
    number, want = astra.create_sino(x[0, 0].numpy().astype(np.float32), made)
    astra.data2d.delete(number)
    astra.projector.delete(made)
    assert properties.gap(operator.A(x)[0, 0] * 12, torch.from_numpy(want).double()) < 1e-6


@needed
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize(("kind", "plain", "name"), CASES)
def test_every_property(kind, plain, name, dtype):
    operator = kind(QUIET, 4, projector=name).sample(DRAWS, (1, 4, 5))
    properties.assert_matrix_properties(operator, dtype=dtype)
    properties.assert_solves(operator, gamma=3.0, dtype=dtype)


@needed
def test_its_derivatives_are_those_of_any_order():
    operator = AstraTomography(QUIET, 3).sample(DRAWS, (1, 4, 4))
    x = DRAWS.take([0]).uniform("x", (1, 4, 4)).requires_grad_()

    def energy(image: torch.Tensor) -> torch.Tensor:
        return operator.A(image).pow(3).sum()

    assert torch.autograd.gradcheck(energy, [x]) and torch.autograd.gradgradcheck(energy, [x])


@needed
def test_a_scan_is_weighed_once(monkeypatch: pytest.MonkeyPatch):
    physics = AstraTomography(QUIET, 5, projector="line")
    counted = []
    weigh = astra_tomography.AstraWeights.weights

    def weights(self, geometry, height, width):
        counted.append((height, width))
        return weigh(self, geometry, height, width)

    monkeypatch.setattr(astra_tomography.AstraWeights, "weights", weights)
    x = DRAWS.uniform("x", (1, 10, 11))
    first = physics.sample(DRAWS, (1, 10, 11))
    first.A_adjoint(first.A(x))
    again = physics.sample(DRAWS, (1, 10, 11))
    assert isinstance(again, Projector) and again is first
    assert torch.equal(again.A(x), first.A(x)) and len(counted) == 1


@needed
@pytest.mark.parametrize("kind", [AstraTomography, AstraFanBeamTomography])
def test_the_image_behind_a_measurement(kind):
    physics = kind(QUIET, 6)
    assert physics.is_deterministic
    y = physics(torch.zeros(2, 1, 16, 16))
    assert physics.operator_for(y, (1, 16, 16)).image_shape == (1, 16, 16)


@needed
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: AstraTomography(QUIET, projector="stripe"),
            r"AstraTomography.projector = 'stripe': must be one of \['line', 'linear', 'strip'\], "
            "did you mean 'strip'",
        ),
        (
            lambda: AstraFanBeamTomography(QUIET, projector="linear"),
            r"AstraFanBeamTomography.projector = 'linear': must be one of \['line', 'strip'\], "
            "did you mean 'line'",
        ),
        (lambda: AstraTomography(QUIET, arc=200.0), r"arc = 200.0: must be in \(0, 180\]"),
        (lambda: AstraFanBeamTomography(QUIET, source=0.5), r"source = 0.5: must be above 0.707"),
    ],
)
def test_bad_scans_say_what_is_wrong(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


@lacking
@pytest.mark.parametrize("name", ["astra_tomography", "astra_fan_beam_tomography"])
def test_without_the_package_a_configuration_says_what_to_install(name: str):
    assert "needs the package 'astra', which is not installed: pip install -e '.[astra]'" in (
        refusal(f"physics={name}")
    )
