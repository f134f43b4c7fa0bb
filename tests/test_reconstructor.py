"""The reconstructor: components that fit, physics as operators, precision, per-image norms."""

from typing import Any

import pytest
import torch

from tests.engine import blur, difference, measured, network_prior, reconstructor
from unfold.algorithms.admm import ADMM
from unfold.algorithms.analysis_pdhg import AnalysisPDHG
from unfold.algorithms.condat_vu import CondatVu
from unfold.algorithms.gd import GD
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.denoisers.denoiser import Denoiser
from unfold.errors import ConfigError, ShapeError
from unfold.fidelities.l2 import L2
from unfold.models.classical import Classical
from unfold.models.deq import DEQ
from unfold.models.unfolded import Unfolded
from unfold.physics.denoising import Denoising
from unfold.physics.inpainting import Inpainting
from unfold.physics.noise.base import NoNoise
from unfold.priors.composite import Sum, Weighted
from unfold.priors.denoiser_priors import RED, GradientStep, PnP, Score
from unfold.priors.tikhonov import Tikhonov
from unfold.priors.tv import TV
from unfold.priors.wavelet import Wavelet
from unfold.reconstructor import Reconstructor

MODELS = [Unfolded(3), DEQ(tol=1e-6), Classical(tol=1e-4, every=5)]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("algorithm", [PGD(), ADMM(), PDHG(), CondatVu(), AnalysisPDHG()])
def test_every_algorithm_runs_in_every_model_and_no_image_sees_its_batch(
    algorithm: Any, model: Any
):
    prior = TV() if "analysis" in algorithm.needs_g else Wavelet("haar", 1)
    A = blur(6, batch=2, gain=0.7)
    y = measured(A, batch=2)
    net = reconstructor(algorithm, model, prior)
    with torch.no_grad():
        whole = net(y, A)
        for i in range(2):
            one = net(y[i : i + 1], A.take(torch.tensor([i]), 2))
            # Anderson's small systems enlarge the rounding of a Fourier transform of another batch.
            assert difference(one, whole[i : i + 1]) < (1e-5 if isinstance(model, DEQ) else 1e-9)


@pytest.mark.parametrize("algorithm", [CondatVu(), AnalysisPDHG()])
def test_a_prior_without_what_an_algorithm_needs_is_refused_with_alternatives(algorithm: Any):
    with pytest.raises(ConfigError, match=r"needs an analysis operator K.*Tikhonov has none.*TV"):
        reconstructor(algorithm, Unfolded(2), Tikhonov())


def test_a_deterministic_physics_is_accepted_as_an_operator():
    physics, y = Denoising(), torch.rand(2, 1, 6, 6, dtype=torch.float64)
    net = reconstructor(PGD(), Unfolded(2))
    assert torch.equal(net(y, physics), net(y, physics.operator_for(y)))


def test_a_random_physics_is_not():
    net = reconstructor(PGD(), Unfolded(2))
    with pytest.raises(ConfigError, match="Inpainting is random: pass the operator"):
        net(torch.rand(1, 1, 4, 4, dtype=torch.float64), Inpainting(NoNoise()))


def test_a_measurement_of_another_shape_is_refused():
    net = reconstructor(PGD(), Unfolded(2))
    with pytest.raises(
        ShapeError, match=r"A_adjoint expects \(batch, 1, 6, 6\), got \(1, 1, 5, 6\)"
    ):
        net(torch.rand(1, 1, 5, 6, dtype=torch.float64), blur(6))


class Linear(Denoiser):
    """D(v) = s v: its Lipschitz constant is |s|, exactly."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.channels, self.scale = 1, torch.nn.Parameter(torch.tensor(scale))

    def forward(self, v: torch.Tensor, sigma: Any) -> torch.Tensor:
        return self.scale * v


@pytest.mark.parametrize("kind", [PnP, RED, Score])
def test_an_equilibrium_uses_the_network_it_is_given(kind: Any):
    network = Linear(1.25)
    algorithm = PGD() if kind is PnP else GD()
    with pytest.warns(UserWarning, match=r"Linear as given .* constant is 1\.25, .*Nonexpansive"):
        net = reconstructor(algorithm, DEQ(), kind(network))
    assert net.prior.denoiser is network
    with pytest.raises(ConfigError, match=r"constant is 1\.25"):
        Reconstructor(algorithm, kind(network), L2(), DEQ(), strict=True)
    assert reconstructor(algorithm, DEQ(), kind(Linear(0.5))).prior.denoiser.scale == 0.5
    assert reconstructor(algorithm, Unfolded(2), kind(Linear(2.0))).prior.denoiser.scale == 2


def test_networks_inside_a_sum_are_measured_too():
    prior = Sum((Weighted(RED(Linear(1.5)), 0.1), Tikhonov()))
    with pytest.warns(UserWarning, match=r"RED uses Linear .* constant is 1\.5"):
        net = reconstructor(GD(stepsize=0.1), DEQ(), prior)
    assert isinstance(net.get_submodule("prior.terms.0.prior.denoiser"), Linear)


def test_a_gradient_step_is_measured_as_a_whole():
    """g(x) = ½(1 − s)²‖x‖², so that D = I − ∇g is (1 − (1 − s)²)x: s = 3 gives −3x."""
    with pytest.warns(UserWarning, match=r"GradientStep uses Linear .* constant is 3\b"):
        reconstructor(PGD(), DEQ(), GradientStep(Linear(3.0)))


@pytest.mark.parametrize("model", [Unfolded(3), DEQ()])
def test_networks_in_half_precision_are_near_and_learn(model: Any):
    A = blur(8)
    net = reconstructor(PGD(), model, network_prior()).float()
    y = measured(A).float()
    with torch.no_grad():
        full = net(y, A.to_like(y))
        net.half_precision = True
        half = net(y, A.to_like(y))
    assert half.dtype == torch.float32 and 0 < (half - full).abs().max() < 0.05
    state = set(net.state_dict())
    net(y, A.to_like(y)).sum().backward()
    assert set(net.state_dict()) == state
    assert all(p.grad is not None for p in net.prior.denoiser.parameters())


def test_values_are_reported_in_their_own_units():
    net = reconstructor(PGD(stepsize=0.7), Unfolded(2))
    assert net.parameter_values()["algo.stepsize"] == pytest.approx(0.7)
    assert not any(v.requires_grad for v in net.parameter_values().values())


def test_the_guarantee_looks_at_every_iteration():
    A = blur(6)
    y = measured(A)
    good = reconstructor(PGD(stepsize=[1.0, 1.9]), Unfolded(2), learn=[])
    bad = reconstructor(PGD(stepsize=[1.0, 2.1]), Unfolded(2), learn=[])
    assert good.guarantee(y, A).holds and not bad.guarantee(y, A).holds
    assert good.guarantee(y, A).condition == "0 < stepsize < 2/L_f"


def test_a_part_that_lacks_something_names_every_alternative():
    words = (
        r"CondatVu needs an analysis.*Wavelet has none. With one: AnisotropicTV, .*TV.*\. "
        r"Algorithms that take Wavelet: ADMM, .*PGD.*"
    )
    with pytest.raises(ConfigError, match=words) as caught:
        Reconstructor(CondatVu(), Wavelet(), L2(), Unfolded(2))
    assert "Landweber" not in str(caught.value)  # it has no use for a prior
