"""The dry run: losses and forward models are tried before a run begins."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from unfold.cli.dry_run import dry_run
from unfold.config.build import build, verify
from unfold.config.compose import compose
from unfold.errors import ConfigError, DataError, ShapeError
from unfold.initialization import StartWarning
from unfold.training.losses import Loss

SMALL = ("model=unfolded", "model.iterations=2")
FILTERED = ("physics=tomography", "start=filtered_back_projection")
ACROSS = "evaluation=across_operators"


def parts(*words):
    (checked,) = verify(compose([*SMALL, *words]))
    return build(checked)


@pytest.mark.parametrize("loss", ["mse", "splitting", "sure", "equivariant", "robust_equivariant"])
@pytest.mark.parametrize("physics", ["mixed_shapes", "mri"])
def test_compatible_components_are_accepted(loss, physics):
    dry_run(parts(f"physics={physics}", f"loss={loss}"), 0)


def test_a_loss_that_cannot_reconstruct_is_named():
    """Splitting leaves out a part of the scan, and filtered back-projection needs all of it."""
    dry_run(parts(*FILTERED, "loss=sure", "evaluation=none"), 0)
    words = r"loss Splitting: FilteredBackProjection needs all projections.*start from Regularised"
    with pytest.raises(ConfigError, match=words):
        dry_run(parts(*FILTERED, "loss=splitting", "evaluation=none"), 0)


def test_an_unused_loss_is_not_checked():
    words = ("model=classical", "algo=pgd", "prior=tv", "loss=splitting", "evaluation=none")
    (checked,) = verify(compose([*FILTERED, *words]))
    dry_run(build(checked), 0)


@dataclass(frozen=True)
class Misshapen(Loss):
    """Compares images of different sizes."""

    def value(self, solution, trial):
        assert solution.image.shape == trial.truth.shape and not solution.image.requires_grad
        raise ShapeError("images of 3 and of 4 pixels")


def test_the_value_of_a_loss_is_computed():
    own = parts("physics=denoising")
    own = own._replace(loss=Misshapen())
    with pytest.raises(ShapeError, match="loss Misshapen: images of 3 and of 4 pixels"):
        dry_run(own, 0)


def test_every_family_of_a_mixture_is_checked():
    """A single image meets but one of them."""
    words = r"physics.families.\w+: FilteredBackProjection needs projections along rays"
    with pytest.raises(ConfigError, match=words):
        dry_run(parts("physics=mixed_shapes", FILTERED[1], "evaluation=none"), 0)


def test_operators_of_the_evaluation_may_have_the_declared_start():
    with pytest.warns(StartWarning, match="FilteredBackProjection is not made for"):
        dry_run(parts(*FILTERED, ACROSS), 0)
    words = r"evaluation.operators.\w+: FilteredBackProjection needs.* Or set evaluation=none"
    with pytest.raises(ConfigError, match=words):
        dry_run(parts(*FILTERED, ACROSS, "start.elsewhere=null"), 0)
    dry_run(parts(*FILTERED, "start.elsewhere=null"), 0)  # other views of the same scan have it


def test_the_weights_do_not_change():
    own = parts("physics=denoising", "loss=sure")
    before = {name: value.clone() for name, value in own.reconstructor.state_dict().items()}
    dry_run(own, 0)
    after = own.reconstructor.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(p.grad is None for p in own.reconstructor.parameters())


@pytest.mark.parametrize("change", ["metrics.border=60", "data.multiple_of=8"])
def test_an_image_that_cannot_be_scored_is_found_before_training(change, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(6):
        size = (128, 128) if change.startswith("metrics") or i < 4 else (8, 40)
        pixels = rng.integers(0, 256, size, np.uint8)
        split = ("train", "validation")[i > 3]
        (tmp_path / split).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / split / f"{i}.png")
    folders = [f"data.root={tmp_path}/train", f"data.validation_root={tmp_path}/validation"]
    own = parts("data=folder", *folders, change, "physics=denoising", "evaluation=none")
    words = r"image of \d+x\d+ pixels cannot be scored: ssim expects sides of 11"
    with pytest.raises(DataError, match=words):
        dry_run(own, 0)


def test_a_crop_before_an_operator_of_whole_images_is_named(capsys, tmp_path):
    dry_run(parts("physics=mri", "evaluation=none"), 0)
    said = " ".join(capsys.readouterr().out.split())
    assert "crops of 48x48 are cut from the images" in said and "data.crop=null" in said
    for i in range(5):
        np.save(tmp_path / f"{i}.npy", np.random.default_rng(i).random((32, 32)))
    whole = ("data=volumes", f"data.root={tmp_path}", "physics=mri", "evaluation=none")
    dry_run(parts(*whole), 0)
    assert "whole images" not in capsys.readouterr().out
