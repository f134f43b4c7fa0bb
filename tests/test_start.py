"""First images: learned by name, of some operators only, and fitted to training images."""

import warnings

import numpy as np
import pytest
import torch
from scipy.io import savemat

from tests.training.small import small_data
from unfold.algorithms.pgd import PGD
from unfold.cli.main import dispatch
from unfold.config.build import configure
from unfold.config.experiment import build, load
from unfold.errors import ConfigError, DataError
from unfold.fidelities.fidelity import data_term
from unfold.fidelities.l2 import L2
from unfold.initialization import FilteredBackProjection, FittedLinear, Regularised, StartWarning
from unfold.models.deq import DEQ
from unfold.models.unfolded import Unfolded
from unfold.parameters.select import Trainable
from unfold.physics.blur.blur import Blur
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.denoising import Denoising
from unfold.physics.noise.base import Gaussian, NoNoise
from unfold.physics.sensing.gaussian import BlockCompressedSensing, GaussianSensing
from unfold.priors.l1 import L1
from unfold.random import Draws
from unfold.reconstructor import Reconstructor
from unfold.training.checkpoints.weights import load_weights, save_weights
from unfold.training.fit_start import fit_start

DRAWS = Draws(0, (0, 1, 2))
QUIET = NoNoise()
BLUR = Blur(Gaussian(0.02), GaussianKernel(5, 1.0))


def net_of(start, learn=(), model=None):
    trainable = Trainable(learn=learn)
    return Reconstructor(PGD(), L1(), L2(), model or Unfolded(2), start, trainable)


def test_a_start_is_learned_by_name_with_the_gradient_of_differences():
    net = net_of(Regularised(0.1), ("start.weight",)).double()
    assert [name for name, _ in net.named_parameters()] == ["start.raw_weight"]
    assert net.parameter_values()["start.weight"] == pytest.approx(0.1)
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    y, operator = BLUR.measure(x, Draws(0, (0, 1), dtype=torch.float64))
    raw = net.start.raw_weight

    def loss():
        return (net(y, operator) - x).square().mean()

    (slope,) = torch.autograd.grad(loss(), raw)
    with torch.no_grad():
        raw += 1e-5
        high = loss()
        raw -= 2e-5
        low = loss()
    assert float(slope) == pytest.approx(float(high - low) / 2e-5, rel=1e-6)


def test_a_start_that_is_not_learned_is_as_it_was():
    net = net_of(Regularised(0.1), ("algo.*",))
    assert not [name for name in net.state_dict() if name.startswith("start")]


@pytest.mark.parametrize(
    ("learn", "model", "words"),
    [
        (("start.wight",), Unfolded(2), "'start.wight' matches nothing, did you mean 'start.weigh"),
        (("start.weight",), DEQ(), "an equilibrium does not depend on its start"),
    ],
)
def test_names_of_a_start_that_cannot_be_meant_are_refused(learn, model, words):
    with pytest.raises(ConfigError, match=words), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net_of(Regularised(), learn, model)


def test_a_start_cannot_differ_between_iterations():
    trainable = Trainable(learn=(), untied=("start.weight",))
    with pytest.raises(ConfigError, match="the start is computed once"):
        Reconstructor(PGD(), L1(), L2(), Unfolded(2), Regularised(), trainable)


def test_of_other_operators_the_declared_start_is_used_and_named():
    x = torch.rand(3, 1, 8, 8)
    y, operator = BLUR.measure(x, DRAWS)
    with pytest.warns(StartWarning, match="FilteredBackProjection is not made for .*Regularised"):
        image = net_of(FilteredBackProjection(elsewhere=Regularised(0.3)))(y, operator)
    assert torch.equal(image, net_of(Regularised(0.3))(y, operator))
    with pytest.raises(ConfigError, match="FilteredBackProjection needs projections along rays"):
        net_of(FilteredBackProjection(elsewhere=None))(y, operator)


PHYSICS = {
    "whole blocks": (BlockCompressedSensing(Gaussian(0.05), 4, 0.5), (2, 8, 8), 8, 16),
    "padded blocks": (BlockCompressedSensing(Gaussian(0.05), 4, 0.5), (2, 6, 9), 8, 16),
    "the image": (GaussianSensing(Gaussian(0.05), 0.2), (1, 6, 6), 7, 36),
}


@pytest.mark.parametrize("name", PHYSICS)
def test_the_fitted_start_is_the_least_squares_map_of_numpy(name):
    physics, shape, m, n = PHYSICS[name]
    draws = Draws(0, range(60))
    x = draws.uniform("images", shape)
    y, operator = physics.measure(x, draws)
    start = FittedLinear().of(operator)
    net = net_of(start)
    assert net.start.matrix.shape == (n, m) and not net.start.matrix.requires_grad
    # Before it is fitted it is A*.
    assert torch.allclose(start.image(data_term(L2(), operator, y)), operator.A_adjoint(y))

    batch, made = next(iter(small_data().train_loader())), []
    for i in range(0, 60, 20):
        given = batch.examples._replace(images=x[i:][:20])
        made.append(batch._replace(index=torch.arange(i, i + 20), examples=given))
    fit_start(net, physics, made, 0)
    draws = [Draws(0, list(range(i, i + 20)), "train", 0) for i in range(0, 60, 20)]
    y = torch.cat([physics.measure(x[20 * i :][:20], d)[0] for i, d in enumerate(draws)]).double()
    x = x.double()
    if m == 8:  # blocks, padded below and to the right
        high, wide = -shape[1] % 4, -shape[2] % 4
        x = np.pad(x.numpy(), ((0, 0), (0, 0), (0, high), (0, wide)))
        blocks = x.reshape(60, 2, x.shape[2] // 4, 4, x.shape[3] // 4, 4).transpose(
            0, 1, 2, 4, 3, 5
        )
        X, Y = blocks.reshape(-1, 16), y.permute(0, 1, 3, 4, 2).reshape(-1, 8).numpy()
    else:
        X, Y = x.flatten(1).numpy(), y.numpy()
    expected = np.linalg.lstsq(Y, X, rcond=None)[0].T
    assert np.abs(net.start.matrix.detach().numpy() - expected).max() < 1e-4
    if m == 7:
        image = net.own_start.image(data_term(L2(), operator, y[:1].float()))
        assert np.abs(image.detach().numpy().ravel() - expected @ Y[0]).max() < 1e-4


def test_too_few_images_determine_no_map():
    physics = GaussianSensing(QUIET, 0.9)
    net = net_of(FittedLinear().of(physics.sample(DRAWS, (1, 16, 16))))
    with pytest.raises(DataError, match=r"determine no map of 230 measurements.*crops_per_image"):
        fit_start(net, physics, small_data().train_loader(), 0)


def test_a_fitted_start_knows_its_operator():
    physics, other = (BlockCompressedSensing(QUIET, 4, 0.5, seed) for seed in (0, 1))
    x = torch.rand(3, 1, 8, 8)
    net = net_of(FittedLinear().of(physics.sample(DRAWS, (1, 4, 4))))
    y, operator = other.measure(x, DRAWS)
    with pytest.warns(StartWarning, match="FittedLinear is not made for BlockMatrix"):
        net(y, operator)
    net(*physics.measure(x, DRAWS))
    with pytest.raises(ConfigError, match="the same real, linear operator for all images"):
        build("start=fitted_linear")
    assert not FittedLinear().of(Denoising().sample(DRAWS, (1, 4, 4))).serves(operator)


def test_the_matrix_is_stored_with_the_weights(tmp_path):
    physics = BlockCompressedSensing(QUIET, 4, 0.5)
    nets = [net_of(FittedLinear().of(physics.sample(DRAWS, (1, 4, 4)))) for _ in range(2)]
    fit_start(nets[0], physics, small_data().train_loader(), 0)
    save_weights(nets[0], tmp_path)
    load_weights(nets[1], tmp_path)
    assert torch.equal(nets[0].start.matrix, nets[1].start.matrix)
    case = physics.measure(torch.rand(3, 1, 8, 8), DRAWS)
    assert torch.equal(nets[0](*case), nets[1](*case))


@pytest.mark.filterwarnings("ignore::unfold.initialization.StartWarning")
def test_a_run_fits_its_start_and_is_evaluated_across_operators(tmp_path):
    words = ["physics=block_compressed_sensing", "physics.block=8", "start=fitted_linear"]
    words += ["data.crop=16", "trainer.max_steps=1", "trainer.progress=false", "prior.weights=null"]
    words += ["evaluation.noise_levels=[0.02]", f"runs_dir={tmp_path}", "data.crops_per_image=10"]
    words += ["evaluation.tv.count=2", "evaluation.tv.crop=16", "evaluation.tv.max_iterations=2"]
    words += ["evaluation.tv.search_iterations=2"]
    assert dispatch(["train", *words]) == 0
    (run_,) = tmp_path.glob("pgd*/*")
    loaded = load(run_)
    fresh = configure(words).components.reconstructor
    assert not torch.equal(loaded.reconstructor.start.matrix, fresh.start.matrix)
    rows = (run_ / "evaluation/rows.csv").read_text().splitlines()
    header = rows[0].split(",")
    ours = [dict(zip(header, row.split(","), strict=True)) for row in rows[1:]]
    started = {(r["tested_on"], r["start"]) for r in ours if r["method"] == "ours"}
    assert ("block_compressed_sensing", "") in started and len(started) > 1
    assert {start for _, start in started} == {"", "Regularised"}
    matrix = (run_ / "evaluation/matrix.md").read_text()
    assert "ours starts from Regularised, as its own start is not made for it" in matrix


@pytest.fixture
def phi():
    rows = np.random.default_rng(0).standard_normal((16, 6))
    return np.linalg.qr(rows)[0].T.copy()


@pytest.mark.parametrize("suffix", [".npy", ".mat"])
def test_a_matrix_file_measures_every_block(tmp_path, phi, suffix):
    path = tmp_path / f"phi{suffix}"
    np.save(path, phi) if suffix == ".npy" else savemat(path, {"phi": phi, "other": np.eye(2)})
    physics = BlockCompressedSensing(QUIET, 4, matrix=str(path))
    x = torch.rand(3, 1, 8, 8)
    y, _ = physics.measure(x, DRAWS)
    assert np.allclose(y[1, 0, :, 1, 0], phi @ x[1, 0, 4:, :4].numpy().ravel(), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "given", "words"),
    [
        (lambda phi: 2 * phi, {}, r"orthonormal rows are expected, and \|Phi Phi\^T - I\| is up"),
        (lambda phi: phi.T, {}, r"a table of 16 columns.*it is \(16, 6\). Set block, or transpose"),
        (lambda phi: phi + 0j, {}, "real, orthonormal rows"),
        (lambda phi: phi, {"ratio": 0.8}, r"6 of 16 rows, ratio 0.375.*Leave out ratio and seed"),
        (lambda phi: phi, {"seed": 1}, "Leave out ratio and seed"),
    ],
)
def test_a_matrix_that_cannot_be_meant_is_refused(tmp_path, phi, change, given, words):
    path = tmp_path / "phi.npy"
    np.save(path, change(phi))
    with pytest.raises(ConfigError, match=words):
        BlockCompressedSensing(QUIET, 4, matrix=str(path), **given)
