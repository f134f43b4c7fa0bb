"""Operator parameters: learned in training, restored, and fitted to one file alone."""

import json
import warnings
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve

import unfold
from unfold.cli.console import guarded
from unfold.cli.main import dispatch
from unfold.errors import ConfigError
from unfold.evaluation.base import Case
from unfold.evaluation.calibration import calibrate
from unfold.parameters.select import Trainable
from unfold.physics.base import Examples
from unfold.physics.ct.tomography import Tomography
from unfold.physics.noise.measured import MeasuredNoise
from unfold.random import Draws
from unfold.reconstructor import learn_physics
from unfold.training.checkpoints.weights import read_weights

SIZE = 64
NETWORK = (
    *("algo=hqs", "prior=dncnn", "model.iterations=3", "trainer.progress=false"),
    *("evaluation=none", "trainer.threads=1", "trainer.log_every=1"),
)
PAIRS = ("data=pairs", "data.root=pairs", "physics/noise=measured", "physics.noise.sigma=0.005")


def run(*arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return guarded(dispatch, arguments)


def gaussian(sigma, size=7):
    u = np.arange(size) - size // 2
    h = np.exp(-(u[:, None] ** 2 + u**2) / (2 * sigma**2))
    return h / h.sum()


def width(h):
    """The standard deviation of a kernel, of both axes."""
    u = np.arange(len(h)) - len(h) // 2
    return float(np.sqrt((h * (u[:, None] ** 2 + u**2)).sum() / 2))


def picture(seed):
    """Rectangles of random grey."""
    rng, image = np.random.default_rng(seed), np.full((SIZE, SIZE), 0.4)
    for _ in range(20):
        (r, c), (h, w) = rng.integers(0, SIZE - 8, 2), rng.integers(4, 20, 2)
        image[r : r + h, c : c + w] = rng.uniform(0.1, 0.9)
    return image


TRUE, WRONG = 1.2, 1.8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pairs blurred by a kernel, another one, and a run that learned from it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("calibrate")
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for name in ("measurement", "image"):
            (folder / "pairs" / name).mkdir(parents=True)
        for i in range(4):
            x = picture(i)
            y = convolve(x, gaussian(TRUE), mode="wrap")
            y = y + 0.005 * np.random.default_rng(99 + i).standard_normal(x.shape)
            np.save(f"pairs/measurement/{i}.npy", y.astype("f4"))
            np.save(f"pairs/image/{i}.npy", x.astype("f4"))
        np.save("wrong.npy", gaussian(WRONG))
        np.save("true.npy", gaussian(TRUE))
        learn = ("trainable.learn=[algo.*,prior.*,physics.kernel]", "physics.kernel=wrong.npy")
        rate = ("trainable.lr={physics.*: 2e-1}", "trainer.max_steps=32", "name=learned")
        assert run("train", *NETWORK, *PAIRS, *learn, *rate, "physics=gaussian_blur") == 0
        known = ("physics.kernel=true.npy", "trainer.max_steps=12", "name=known")
        assert run("train", *NETWORK, *PAIRS, *known, "physics=gaussian_blur") == 0
    return folder


@pytest.fixture
def place(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    return {name: next(folder.glob(f"runs/*-{name}/*")) for name in ("learned", "known")}


def test_a_wrong_kernel_is_learned_in_training_saved_and_restored(place, capsys, tmp_path):
    state = read_weights(place["learned"])
    (h,) = torch.softmax(state["physics.raw_kernel"].flatten(-2), -1).reshape(1, 7, 7).numpy()
    assert abs(width(h) - TRUE) < abs(WRONG - TRUE) / 3
    found = unfold.load(place["learned"]).reconstructor.parameter_values()["physics.kernel"]
    assert np.allclose(found[0], h, atol=1e-7)
    output = tmp_path / "x.npy"
    given = (f"run={place['learned']}", "measurement=pairs/measurement/0.npy")
    assert run("reconstruct", *given, "boundary=circular", f"output={output}") == 0
    np.save("h.npy", h)
    stated = (*given, "boundary=circular", "physics.kernel=h.npy")
    assert run("reconstruct", *stated, f"output={tmp_path / 'y.npy'}") == 0
    assert np.allclose(np.load(output), np.load(tmp_path / "y.npy"), atol=1e-4)


def psnr(path, i):
    return -10 * np.log10(np.mean((np.load(path) - np.load(f"pairs/image/{i}.npy")) ** 2))


def test_a_wrong_kernel_is_calibrated_on_one_file_and_the_image_is_better(place, tmp_path, capsys):
    given = (f"run={place['known']}", "measurement=pairs/measurement/3.npy", "boundary=circular")
    fit = ("physics.kernel=wrong.npy", "learn=[physics.kernel]", "steps=40")
    assert run("calibrate", *given, *fit, f"output={tmp_path / 'a'}") == 0
    made = json.loads((tmp_path / "a/calibrated.json").read_text())
    assert made["settings"] == {"steps": 40, "lr": 0.05, "seed": 0, "learn": ["physics.kernel"]}
    assert made["scores"]["risk"] < 0.6 * made["scores"]["risk before"]
    h = np.load(tmp_path / "a/kernel.npy")
    assert h.min() >= 0 and h.sum() == pytest.approx(1, abs=1e-5)
    assert abs(width(h) - TRUE) < abs(WRONG - TRUE) / 2
    assert np.abs(h - gaussian(TRUE)).sum() < 0.7 * np.abs(gaussian(WRONG) - gaussian(TRUE)).sum()
    assert run("reconstruct", *given, fit[0], f"output={tmp_path / 'w.npy'}") == 0
    before, after = psnr(tmp_path / "w.npy", 3), psnr(tmp_path / "a/reconstruction.npy", 3)
    assert after > before + 1
    own = f"physics.kernel={tmp_path / 'a/kernel.npy'}"
    assert run("reconstruct", *given, own, f"output={tmp_path / 'x.npy'}") == 0
    assert np.allclose(
        np.load(tmp_path / "x.npy"), np.load(tmp_path / "a/reconstruction.npy"), atol=1e-4
    )
    assert (tmp_path / "a/reconstruction.png").is_file()
    for name in ("b", "c"):
        assert run("calibrate", *given, *fit[:2], "steps=2", f"output={tmp_path / name}") == 0
    for name in ("kernel.npy", "reconstruction.npy"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("learn=[physics.kernle]",), "did you mean 'physics.kernel'?"),
        (("learn=[physics.noise]",), "Available: physics.kernel"),
        (("learn=[algo.stepsize]",), "Available: physics.kernel"),
        ((), "can be learned of"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(place, tmp_path, capsys, more, words):
    given = (f"run={place['known']}", "measurement=pairs/measurement/3.npy", "boundary=circular")
    assert run("calibrate", *given, *more, f"output={tmp_path / 'a'}") == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "a").exists()


def test_a_parameter_of_an_instrument_is_not_learned_where_it_simulates(place, capsys):
    words = ("physics=gaussian_blur", "physics.kernel=true.npy", "trainable.learn=[physics.*]")
    assert run("train", *NETWORK, *words) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "trainable.learn" in error and "would become the identity; take measured data" in error


def test_what_is_learned_of_an_operator_is_explained(place, capsys):
    words = ("physics=gaussian_blur", "physics.kernel=true.npy", "trainable.learn=[physics.*]")
    assert run("explain", *NETWORK, *PAIRS, *words) == 0
    assert "physics.kernel = " in (text := capsys.readouterr().out)
    assert "(learned; zero or positive, of sum 1)" in text
    assert run("doctor", *NETWORK, *PAIRS, *words) == 0
    assert "physics.kernel" in capsys.readouterr().out


@pytest.mark.parametrize("true", [2.0])
def test_an_axis_of_rotation_is_found_from_two_detectors_away(true):
    u = torch.linspace(-1, 1, 16)
    x = 0.4 * (u[:, None] ** 2 + u**2 < 0.6) + 0.5 * ((u[:, None] - 0.3) ** 2 + u**2 < 0.05)
    x = x.float()[None, None]
    scan = Tomography(MeasuredNoise(0.002), angles=8, detectors=23, shape=(1, 16, 16))
    y = replace(scan, axis=true).sample(Draws(0, (0,)), (1, 16, 16)).A(x)
    y = y + 0.002 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    options = (
        "model.iterations=1",
        "algo.lambda_reg=1e-3",
        "algo.stepsize=10.0",
        "model.solve_tol=1e-4",
    )
    net = unfold.build("algo=hqs", "prior=tikhonov", *options).reconstructor
    physics, values = learn_physics(scan, Trainable(["physics.axis"]), simulates=False)

    def case():
        y_, operator = physics.measure(Examples(None, y), Draws(0, (0,)))
        return Case(y_, operator, torch.tensor([0.002]))

    def error():
        with torch.no_grad():
            y_, operator, level = case()
            return float((net.solve(y_, operator, noise_level=level).image - x).square().mean())

    before = error()
    calibrate(net, [case], values, 20, 0.25, 0)
    assert float(values.value("axis").detach()) == pytest.approx(true, abs=0.1)
    assert error() < before / 4


@pytest.mark.parametrize("error", [None, ConfigError("nothing is learned")])
def test_a_fit_leaves_the_network_as_trainable_as_it_was(error, monkeypatch):
    net, during = torch.nn.Linear(2, 2), []
    net.bias.requires_grad_(False)

    def fit(*_):
        during.append([p.requires_grad for p in net.parameters()])
        if error:
            raise error
        return {}

    monkeypatch.setattr("unfold.evaluation.calibration.fit_best", fit)
    with nullcontext() if error is None else pytest.raises(ConfigError):
        calibrate(net, [], SimpleNamespace(plans={}), 1, 0.1, 0)
    assert during == [[False, False]]
    assert (net.weight.requires_grad, net.bias.requires_grad) == (True, False)
