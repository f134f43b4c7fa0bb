"""The bad inputs that only Python code can give, those that are legal, and those that are mended.

The numbers are those of the list; the others are in `cases`.
"""

import pytest
import torch
from jaxtyping import config

from tests.config.folder import checked
from unfold.algorithms.pgd import PGD
from unfold.data.example import Example, Sample, collate
from unfold.denoisers.nonexpansive import NonexpansiveResNet
from unfold.errors import ConfigError, DataError, ShapeError
from unfold.evaluation.metrics import ImageMetrics, psnr
from unfold.fidelities.l2 import L2
from unfold.models.deq import DEQ
from unfold.models.unfolded import Unfolded
from unfold.physics.blur.convolution import CircularConvolution
from unfold.physics.inpainting import Mask
from unfold.physics.mri.cartesian import MRI
from unfold.physics.mri.sampling import RandomColumns
from unfold.physics.noise.base import Gaussian
from unfold.physics.noise.signal_dependent import Poisson
from unfold.priors.denoiser_priors import PnP
from unfold.random import Draws
from unfold.reconstructor import Reconstructor

X = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
SEEN = Mask(torch.ones(1, 1, 16, 16))


@pytest.fixture
def as_users_call():
    """Without the types that tests check at every call: users see the messages instead."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def test_17_a_point_that_is_swept_twice_runs_once():
    assert len(checked("-m", "seed=0,1,0")) == 2


class WithLayer(NonexpansiveResNet):
    """A user's network with one layer more."""

    def __init__(self, layer):
        super().__init__(1, depth=2, width=4)
        self.more = layer

    def forward(self, x, sigma):
        return self.more(super().forward(x, sigma))


@pytest.mark.parametrize("layer", [torch.nn.BatchNorm2d(1), torch.nn.Dropout(0.1)])
def test_23_what_changes_between_calls_has_no_fixed_point(layer):
    prior = PnP(WithLayer(layer))
    with pytest.raises(ConfigError, match=f"{type(layer).__name__}, which makes another map"):
        Reconstructor(PGD(), prior, L2(), DEQ())
    Reconstructor(PGD(), prior, L2(), Unfolded(2))


def test_30_no_noise_is_exact():
    assert torch.equal(Gaussian(0.0).apply(X, Draws(0, (0,), "test")), X)


def test_36_an_odd_kernel_that_is_no_blur_is_reported():
    with pytest.raises(ConfigError, match="odd"):
        CircularConvolution(torch.ones(1, 1, 4, 4) / 16, (1, 16, 16))


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 1, 1, 16), (1, 2, 16, 16)])
def test_37_a_mask_is_not_broadcast(shape):
    with pytest.raises(ShapeError, match=r"got \(1, 1, 16, 16\)"):
        Mask(torch.ones(shape)).A(X)


@pytest.mark.parametrize("blind", [[1], [0, 1]])
def test_37_a_mask_that_sees_nothing_is_reported_before_the_first_step(blind):
    seen = torch.ones(2, 1, 16, 16)
    seen[blind] = 0
    net = Reconstructor(PGD(), PnP(NonexpansiveResNet(1, depth=2, width=4)), L2(), Unfolded(2))
    arguments = (
        rf"Mask is 0 for the samples \[{', '.join(map(str, blind))}\]: ‖A‖² = 0, so that y tells"
    )
    with pytest.raises(ConfigError, match=arguments):
        net(torch.zeros(2, 1, 16, 16), Mask(seen))


def test_37_a_mask_has_four_dimensions():
    with pytest.raises(ShapeError, match=r"\(batch or 1, channel, height, width\), got \(16,\)"):
        Mask(torch.ones(16))


def test_42_real_and_imaginary_parts_are_no_channels():
    _, operator = MRI(Gaussian(0.02), RandomColumns(4.0, 0.1)).measure(X, Draws(0, (0,), "test"))
    with pytest.raises(ShapeError, match=r"expects complex measurements, got torch\.float32"):
        operator.A_adjoint(X)


def test_45_no_photons_from_negative_light():
    with pytest.raises(DataError, match="zero or positive"):
        Poisson(10.0).apply(-X, Draws(0, (0,), "test"))


def test_46_whole_numbers_are_no_intensities(as_users_call):
    with pytest.raises(ShapeError, match=r"torch\.uint8; convert it with \.float\(\)"):
        SEEN.A((255 * X).to(torch.uint8))


@pytest.mark.parametrize("kind", [torch.float64, torch.complex128])
def test_46_double_precision_is_not_lost_on_the_way(kind):
    operator = CircularConvolution(torch.ones(1, 1, 3, 3) / 9, (1, 16, 16))
    for call, name in ((operator.A, "A"), (operator.A_adjoint, "A_adjoint")):
        arguments = rf"CircularConvolution\.{name}: {kind} through an operator of torch\.float32"
        with pytest.raises(ShapeError, match=rf"{arguments} .* take operator\.to_like\(x\), or"):
            call(X.to(kind))
    assert operator.to_like(X.double()).A(X.to(kind)).dtype == kind


def test_46_the_wider_precision_wins():
    kernel = torch.ones(1, 1, 3, 3).double() / 9
    assert CircularConvolution(kernel, (1, 16, 16)).A(X).dtype == torch.float64


def test_47_an_image_needs_its_batch(as_users_call):
    with pytest.raises(ShapeError, match=r"expects \(batch, 1, 16, 16\), got \(1, 16, 16\)"):
        SEEN.A(X[0])
    with pytest.raises(ShapeError, match="the batch holds 0"):
        SEEN.A(X[:0])


def test_61_images_of_several_sizes_are_no_batch(as_users_call):
    samples = [Sample(Example(X[0]), (0, 0)), Sample(Example(X[0, :, :8]), (0, 1))]
    with pytest.raises(ShapeError, match=r"1x16x16.*evaluation_batch_size=1"):
        collate(samples)


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 1, 16, 16), (1, 3, 16, 16), (1, 1, 1, 16)])
def test_62_metrics_do_not_broadcast(shape, as_users_call):
    with pytest.raises(ShapeError, match="one shape"):
        psnr(X, torch.rand(shape), 1.0)


def test_63_metrics_at_their_ends():
    assert psnr(X, X, 1.0).item() == float("inf")
    assert psnr(X * torch.nan, X, 1.0).isnan().all()
    with pytest.raises(ShapeError, match="11 pixels or more"):
        ImageMetrics()(X[..., :4, :4], X[..., :4, :4])


@pytest.mark.usefixtures("as_users_call")
def test_a_network_that_is_no_denoiser_is_named():
    with pytest.raises(ConfigError, match=r"PnP\.denoiser: Conv2d is not a denoiser of unfold"):
        PnP(torch.nn.Conv2d(1, 1, 3))
