"""Parameters that depend on the noise level, the sampling or the norm of a problem."""

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import shipped
from tests.config.folder import refusal
from tests.engine import (
    DOUBLE,
    blur,
    difference,
    inpainting,
    learned,
    measured,
    network_prior,
    normal,
    reconstructor,
    weighted_loss,
)
from unfold.algorithms.hqs import HQS
from unfold.algorithms.pgd import PGD
from unfold.errors import ConfigError, DataWarning
from unfold.features import feature
from unfold.fidelities.l2 import L2
from unfold.fidelities.poisson import PoissonFidelity
from unfold.initialization import BackProjection
from unfold.models.classical import Classical
from unfold.models.deq import DEQ
from unfold.models.unfolded import Unfolded
from unfold.parameters.declare import declarations
from unfold.parameters.group import conditions_of
from unfold.parameters.select import Trainable
from unfold.physics.algebra import Composed, Stacked
from unfold.physics.batch import Grouped
from unfold.physics.blur.super_resolution import Downsampling
from unfold.physics.inpainting import Mask
from unfold.physics.mri.cartesian import Fourier
from unfold.physics.wrapped import Scaled
from unfold.priors.tikhonov import Tikhonov
from unfold.reconstructor import Reconstructor

FEATURES = ["noise_level", "sampling", "norm"]
OF_ONE_OPERATOR = {"analytic_ista", "coupled_ista", "e2e_varnet", "lista"}
"""With networks of one matrix, or of coils."""

PRIORS = {
    "analysis_admm": "tv",
    "analysis_hqs": "tv",
    "analysis_pdhg": "tv",
    "condat_vu": "tv",
    "davis_yin": "tv_box",
    "pidal": "tv",
    "proximal_mirror_descent": "l1",
}
LEVELS = torch.tensor([0.03, 0.1], dtype=DOUBLE)


def shaken(net: Reconstructor, size: float = 0.3) -> Reconstructor:
    """With conditions that act."""
    torch.manual_seed(7)
    for _, one in conditions_of(net):
        for p in one.last.parameters():
            torch.nn.init.normal_(p, std=size)
    return net.eval()


@pytest.mark.parametrize("name", sorted({*shipped.files("algo")} - OF_ONE_OPERATOR))
@pytest.mark.parametrize("untied", [False, True])
def test_every_algorithm_starts_as_it_is_without_a_condition(name: str, untied: bool):
    algorithm = shipped.build(shipped.files("algo")[name])
    names = [f"algo.{n}" for n, d in declarations(algorithm).items() if not d.vector]
    prior = shipped.build(shipped.files("prior")[PRIORS.get(name, "tikhonov")])
    counts = name in ("osem", "richardson_lucy")
    parts = (prior, PoissonFidelity() if counts else L2(), Unfolded(2), BackProjection())
    A = Grouped((blur(gain=0.5), inpainting(8)), (0, 1))
    y = measured(A, batch=2).abs() + 0.1
    images: list[Tensor] = []
    for condition in ({}, dict.fromkeys(names, FEATURES)):
        live = [n for n in names if n not in Reconstructor(algorithm, *parts).dead]
        kept = {n: f for n, f in condition.items() if n in live}
        trainable = Trainable(learn=["algo.*"], untied=live if untied else [], condition=kept)
        net = Reconstructor(algorithm, *parts, trainable)
        images.append(net.double().eval()(y, A, noise_level=LEVELS))
        assert dict(conditions_of(net)).keys() == kept.keys()
    assert torch.equal(*images)


def by_hand(one: Any, features: Tensor) -> Tensor:
    """W tanh(V f + b) + c of decimal logarithms."""
    hidden = torch.tanh(features @ one.hidden.weight.T + one.hidden.bias)
    return hidden @ one.last.weight.T + one.last.bias


def test_each_image_and_iteration_has_its_own_value_inside_its_set():
    names = ["algo.stepsize", "algo.lambda_reg"]
    net = reconstructor(
        PGD(), Unfolded(3), untied=["algo.stepsize"], condition=dict.fromkeys(names, FEATURES)
    )
    shaken(net)
    A = Grouped((blur(gain=0.5), inpainting(8)), (0, 1))
    steps = net.steps(measured(A, batch=2), A, LEVELS)
    share = 42 / 64  # every third of 64 pixels is missing
    logs = torch.tensor(
        [[math.log10(0.03) + 1.5, 0.0, math.log10(0.5)], [0.5, math.log10(share), 0.0]],
        dtype=DOUBLE,
    )
    conditions = dict(conditions_of(net))
    squared = torch.tensor([0.25, 1.0], dtype=DOUBLE)
    for k in range(3):
        algorithm, _ = steps.at(k)
        assert algorithm.stepsize.shape == algorithm.lambda_reg.shape == (2, 1, 1, 1)
        tau = torch.exp(by_hand(conditions["algo.stepsize"], logs)[:, k]) / squared
        lam = 0.01 * torch.exp(by_hand(conditions["algo.lambda_reg"], logs)[:, 0])
        assert difference(algorithm.stepsize.flatten(), tau) < 1e-6
        assert difference(algorithm.lambda_reg.flatten(), lam) < 1e-6


def test_an_image_does_not_depend_on_the_others_of_its_batch():
    net = reconstructor(HQS(), Unfolded(2), condition={"algo.stepsize": FEATURES})
    shaken(net)
    A = blur(batch=2)
    y = measured(A, batch=2)
    both = net(y, A, noise_level=LEVELS)
    for i in range(2):
        at = torch.tensor([i])
        assert difference(net(y[at], A.take(at, 2), noise_level=LEVELS[at]), both[at]) < 1e-12


@pytest.mark.parametrize("model", [Unfolded(2), DEQ(tol=1e-10, accuracy=1e-9)])
def test_gradients_agree_with_finite_differences(model):
    prior = network_prior() if isinstance(model, DEQ) else None
    condition = {"algo.stepsize": FEATURES}
    net = shaken(reconstructor(PGD(0.9), model, prior, learn=["algo.*"], condition=condition))
    A, y = blur(batch=2), measured(blur(batch=2), batch=2)
    ((_, one),) = conditions_of(net)
    own = list(one.parameters())

    def loss() -> Tensor:
        return weighted_loss(net(y, A, noise_level=LEVELS))

    found = torch.autograd.grad(loss(), own)
    for p, g in zip(own, found, strict=True):
        direction, h = normal(*p.shape, seed=2), 1e-5
        with torch.no_grad():
            p.add_(h * direction)
            above = loss()
            p.sub_(2 * h * direction)
            below = loss()
            p.add_(h * direction)
        want = float(above - below) / (2 * h)
        assert float((g * direction).sum()) == pytest.approx(want, rel=1e-4, abs=1e-8)


def test_values_of_a_trained_run_serve_a_classical_one():
    condition = {"algo.stepsize": FEATURES}
    trained = shaken(reconstructor(PGD(0.9), Unfolded(2), condition=condition), 0.05)
    classical = reconstructor(PGD(0.9), Classical(1e-12, 4000), condition=condition)
    assert not learned(classical)
    classical.load_state_dict(
        {n: t for n, t in trained.state_dict().items() if n in classical.state_dict()},
        strict=False,
    )
    A = blur(batch=2)
    y = measured(A, batch=2)
    (steps, other) = (n.steps(y, A, LEVELS).at(0)[0].stepsize for n in (trained, classical))
    assert torch.equal(steps, other)


def test_what_lies_outside_the_training_is_warned_of_with_the_range():
    net = reconstructor(PGD(), Unfolded(1), condition={"algo.stepsize": ["noise_level"]})
    A = blur(batch=2)
    y = measured(A, batch=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.eval()(y, A, noise_level=3.0 * LEVELS)  # nothing was trained yet
        net.train()(y, A, noise_level=LEVELS)
        for _, one in conditions_of(net):
            one.remember()
        net.eval()(y, A, noise_level=LEVELS)
    with pytest.warns(DataWarning, match=r"noise_level = 0.05 to 0.3, trained from 0.03 to 0.1"):
        net(y, A, noise_level=torch.tensor([0.05, 0.3], dtype=DOUBLE))


def test_what_is_not_known_is_an_error_that_says_how():
    net = reconstructor(PGD(), Unfolded(1), condition={"algo.stepsize": ["noise_level"]})
    A = blur()
    with pytest.raises(ConfigError, match=r"noise_level, and that .* pass noise_level=σ .*estimat"):
        net(measured(A), A)
    with pytest.raises(ConfigError, match=r"noise_level, which is 0 here: it must be positive"):
        net(measured(A), A, noise_level=0.0)
    net = reconstructor(PGD(), Unfolded(1), condition={"algo.stepsize": ["samplin"]})
    with pytest.raises(ConfigError, match=r"CircularConvolution does not offer .*'samplin'.*sampl"):
        net(measured(A), A, noise_level=0.1)


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ({"algo.stepsize": []}, "1 to 16 different names"),
        ({"algo.stepsize": ["norm", "norm"]}, "1 to 16 different names"),
        ({"algo.step": ["norm"]}, "'algo.step' matches nothing"),
        ({"algo.lambda_reg": ["norm"]}, "which is fixed; add it to Trainable.learn"),
    ],
)
def test_a_condition_that_cannot_be_meant_is_refused(condition, text):
    with pytest.raises(ConfigError, match=text):
        reconstructor(PGD(), Unfolded(1), Tikhonov(), learn=["algo.step*"], condition=condition)


def test_the_features_of_operators():
    mask = inpainting(8)
    down = Downsampling(torch.ones(1, 1, 1, 1, dtype=DOUBLE), (1, 8, 8), 2)
    cases = [
        (blur(gain=2.0), 1.0, 2.0),
        (mask, 42 / 64, 1.0),
        (Scaled(mask, torch.tensor([3.0], dtype=DOUBLE)), 42 / 64, 3.0),
        (Composed(mask, blur()), 42 / 64, None),
        (Stacked((mask, mask)), 2 * 42 / 64, math.sqrt(2)),
        (Fourier(torch.eye(8, dtype=DOUBLE)[None, None], (1, 8, 8)), 1 / 8, 1.0),
        (down, 1 / 4, None),
    ]
    for A, sampling, norm in cases:
        assert feature(A, "sampling").tolist() == pytest.approx([sampling], rel=1e-12)
        if norm is not None:
            assert feature(A, "norm").tolist() == pytest.approx([norm], rel=1e-4)  # a tight bound


def test_an_operator_offers_features_of_its_own():
    class Tilted(Mask):
        features = ("angle",)
        angle = torch.tensor([0.5], dtype=DOUBLE)

    A = Tilted(inpainting().mask)
    assert feature(A, "angle").tolist() == [0.5]
    assert feature(Scaled(A, torch.ones(1, dtype=DOUBLE)), "angle").tolist() == [0.5]
    net = reconstructor(PGD(), Unfolded(1), condition={"algo.stepsize": ["angle"]})
    assert net(measured(A), A).isfinite().all()


def test_it_is_configured_from_the_command_line(tmp_path: Path):
    text = refusal("trainable.condition={algo.stepsize: [noise_level], prior.x: [norm]}")
    assert "trainable.condition" in text
    assert "'prior.x' matches nothing" in text


def test_a_condition_of_a_network_is_refused():
    condition = {"prior.denoiser": ["norm"]}
    with pytest.raises(ConfigError, match="a network: only scalars depend on features"):
        reconstructor(PGD(), Unfolded(1), network_prior(), condition=condition)


def test_its_curves_are_the_values_of_problems():
    net = reconstructor(PGD(), Unfolded(2), condition={"algo.stepsize": FEATURES})
    A = Grouped((blur(gain=0.5), inpainting(8)), (0, 1))
    y = measured(A, batch=2)
    assert not list(net.algo.curves())  # before a training
    shaken(net).train()(y, A, noise_level=LEVELS)
    ((_, one),) = conditions_of(net)
    one.remember()
    curves = {feature: (at, values) for _, feature, at, values in net.eval().algo.curves()}
    at, values = curves["noise_level"]
    assert at[[0, -1]].tolist() == pytest.approx([0.03, 0.1], rel=1e-6)
    share, norm = math.sqrt(42 / 64), math.sqrt(0.5)  # the middle of logarithms
    logs = [torch.tensor([math.log10(s) + 1.5, math.log10(share), math.log10(norm)]) for s in at]
    want = torch.exp(by_hand(one, torch.stack(logs).double()).flatten())
    assert difference(values, want) < 1e-5
