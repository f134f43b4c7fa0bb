"""The reconstructor: components that fit, physics as operators, precision, per-image norms."""

from typing import Any

import pytest
import torch

from tests.engine import blur, difference, measured, network_prior, reconstructor
from unfold.algorithms.admm import ADMM
from unfold.algorithms.analysis_pdhg import AnalysisPDHG
from unfold.algorithms.condat_vu import CondatVu
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.denoisers.dncnn import DnCNN
from unfold.denoisers.nonexpansive import NonexpansiveResNet
from unfold.errors import ConfigError, ShapeError
from unfold.fidelities.l2 import L2
from unfold.models.classical import Classical
from unfold.models.deq import DEQ
from unfold.models.unfolded import Unfolded
from unfold.physics.denoising import Denoising
from unfold.physics.inpainting import Inpainting
from unfold.physics.noise.base import NoNoise
from unfold.priors.denoiser_priors import PnP
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


def test_an_equilibrium_takes_the_nonexpansive_form_of_its_network():
    net = reconstructor(PGD(), DEQ(), PnP(DnCNN(1, 3, 4)))
    assert isinstance(net.prior.denoiser, NonexpansiveResNet)
    assert isinstance(reconstructor(PGD(), Unfolded(2), PnP(DnCNN(1))).prior.denoiser, DnCNN)


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
