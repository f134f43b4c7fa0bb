"""The run that comes with unfold: found by its name, whole, better than its measurement."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

import unfold
from unfold.cli.reconstruct import PACKAGED, reconstruct_image
from unfold.config.experiment import load
from unfold.errors import CheckpointError, ConfigError, DataError, DataWarning
from unfold.physics.base import Examples
from unfold.random import Draws
from unfold.runs.catalogue import PRETRAINED, read_reference

NAME = "every_operator"
CAMERA = Path(unfold.__path__[0]) / "data/images/camera.png"


@pytest.fixture(scope="module")
def photograph() -> torch.Tensor:
    with Pillow.open(CAMERA) as picture:
        grey = np.asarray(picture.convert("L"))[:96, :96] / 255.0
    return torch.from_numpy(grey).float()[None, None]


@pytest.mark.parametrize("name", PACKAGED.values())
def test_it_is_a_sealed_run_that_tells_nothing_of_a_machine(name):
    reference = read_reference(name, "runs")  # verifies every file
    assert reference.state == "finished" and reference.path == PRETRAINED / name
    texts = [p.read_text() for p in reference.path.iterdir() if p.suffix in (".json", ".yaml")]
    assert not any("/tmp" in text or "/home" in text for text in texts)
    assert (reference.path / "README.md").is_file()
    size = sum(p.stat().st_size for p in reference.path.iterdir())
    assert size < 2e6


def test_an_unknown_run_offers_it():
    with pytest.raises(ConfigError, match="did you mean 'every_operator'"):
        read_reference("every_operato", "runs")


OPERATORS = ["motion_blur", "gaussian_blur", "super_resolution", "inpainting", "denoising"]


@torch.no_grad()
@pytest.mark.parametrize("name", OPERATORS)
def test_one_network_improves_on_what_each_operator_leaves(name, photograph):
    net = load(NAME).reconstructor
    physics = unfold.build(f"physics={name}", "physics.noise.sigma=0.05").physics
    y, A = physics.measure(Examples(photograph), Draws(0, (0,)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        x = net(y, A, noise_level=0.05)

    def error(image: torch.Tensor) -> float:
        return float((image - photograph).square().mean())

    start = net.start.image(net.steps(y, A, 0.05).at(0)[1].f)
    assert error(x) < 0.8 * error(start)
    with pytest.warns(DataWarning, match=r"noise_level = 0.5, trained from 0.0008"):
        net(y, A, noise_level=0.5)


def test_its_denoiser_is_a_prior_for_plug_and_play_as_it_was_trained(photograph):
    given = ["architecture=dpir", "physics=inpainting", "physics.noise.sigma=0.05"]
    with pytest.raises(CheckpointError, match=r"Add prior\.denoiser\.levels=2 .*scaled=true"):
        unfold.build(*given, "prior=unet", f"prior.weights={NAME}")
    made = unfold.build(*given, "prior=every_operator")
    trained = load(NAME).reconstructor.prior.denoiser.state_dict()
    own = made.reconstructor.prior.denoiser.state_dict()
    assert own.keys() == trained.keys()
    assert all(torch.equal(own[key], trained[key]) for key in own)


def test_a_photograph_is_reconstructed_without_naming_a_run(tmp_path, capsys):
    with Pillow.open(CAMERA) as picture:
        picture.convert("L").crop((0, 0, 96, 84)).save(tmp_path / "photo.png")
    given = [f"input={tmp_path / 'photo.png'}", "physics=motion_blur"]
    assert reconstruct_image([*given, f"output={tmp_path / 'x.png'}"]) == 0
    text = capsys.readouterr().out
    assert "run=every_operator: the network for many operators" in text
    with Pillow.open(tmp_path / "x.png") as picture:
        assert picture.size == (96, 84)


def test_a_photograph_in_colour_is_reconstructed_by_the_network_in_colour(tmp_path, capsys):
    with Pillow.open(CAMERA.parent / "colour" / "chelsea.png") as picture:
        picture.crop((0, 0, 96, 84)).save(tmp_path / "photo.png")
    given = [f"input={tmp_path / 'photo.png'}", "physics=demosaicing"]
    assert reconstruct_image([*given, f"output={tmp_path / 'x.png'}"]) == 0
    text = capsys.readouterr().out
    assert "run=every_operator_colour" in text
    found = [np.asarray(Pillow.open(tmp_path / f"{one}.png"), float) for one in ("photo", "x")]
    assert np.abs(found[0] - found[1]).mean() < 8


def test_a_photograph_that_memory_cannot_hold_is_refused_with_the_size_that_fits(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("unfold.cli.reconstruct.free_memory", lambda: 450 * 64 * 64)
    given = [f"input={CAMERA}", "physics=motion_blur", f"output={tmp_path / 'x.png'}"]
    with pytest.raises(DataError, match=r"120 x 120 pixels need .* About 64 x 64 pixels fit"):
        reconstruct_image(given)
    assert not list(tmp_path.iterdir())
