"""Maps of coils that are estimated from a measurement, against those that made it."""

import pytest
import torch

from tests.physics.instances import physics_of
from unfold.errors import ConfigError, ShapeError
from unfold.physics.mri.cartesian import MultiCoilFourier
from unfold.physics.mri.coils import estimate_maps
from unfold.random import Draws

DRAWS = Draws(0, range(2), dtype=torch.float64)


def measured(sigma=0.0):
    """Two images through maps of their own, all frequencies acquired."""
    maps = physics_of("multicoil_mri").complex_operator(DRAWS, (1, 48, 40)).maps
    operator = MultiCoilFourier(torch.ones(1, 1, 1, 1, dtype=torch.float64), maps, (1, 48, 40))
    x = torch.zeros(2, 1, 48, 40, dtype=torch.complex128)
    x[..., 6:42, 6:34] = DRAWS.uniform("images", (1, 36, 28), 0.2, 1.0)
    y = operator.A(x)[:, 0]
    noise = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(0))
    return maps, x, y + sigma * noise


@pytest.mark.parametrize(("sigma", "tol"), [(0.0, 2e-2), (0.02, 5e-2)])
def test_they_are_those_that_measured_up_to_a_phase(sigma, tol):
    maps, x, y = measured(sigma)
    found = estimate_maps(y)
    inside = x[:, 0].abs() > 0
    overlap = (found.conj() * maps).sum(1).abs()
    assert (1 - overlap[inside]).quantile(0.95) < tol
    assert torch.allclose(found.abs().square().sum(1)[inside], torch.ones(()).double())
    assert (found[:, 0].imag.abs() < 1e-12).all() and (found[:, 0].real >= 0).all()


def test_an_image_is_found_again_with_them():
    _, x, y = measured()
    operator = MultiCoilFourier(
        torch.ones(1, 1, 1, 1, dtype=torch.float64), estimate_maps(y), (1, 48, 40)
    )
    found = operator.pseudo_inverse(y[:, None]).abs()
    assert float((found - x.abs()).norm() / x.abs().norm()) < 0.02


def test_bad_input_is_named():
    y = torch.zeros(1, 2, 32, 32, dtype=torch.complex64)
    with pytest.raises(
        ShapeError, match=r"expects complex .* got \(1, 2, 32, 32\) of torch.float32"
    ):
        estimate_maps(y.real)
    with pytest.raises(ShapeError, match="at least 40 frequencies"):
        estimate_maps(y, calibration=40)
    with pytest.raises(ConfigError, match="kernel = 24: must be from 1 to calibration - 1 = 23"):
        estimate_maps(y, kernel=24)
    with pytest.raises(ConfigError, match=r"crop = 1.5: must be in \[0, 1\)"):
        estimate_maps(y, crop=1.5)
