"""One key each: averaged weights, early stopping, the norm of the gradient, pictures."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.small import run, run_with_kills, small_data, small_training
from tests.training.test_resume import newest, same
from unfold.errors import ConfigError
from unfold.training.checkpoints.weights import load_checkpoint, read_checkpoint, read_weights
from unfold.training.optim import SGD
from unfold.training.settings import TrainerSettings
from unfold.training.shards import Shards


def learned(training):
    return {
        n: p.detach().clone()
        for n, p in training.reconstructor.named_parameters()
        if p.requires_grad
    }


def watched(iterates, norms=None):
    """A training that keeps its weights after every step, and the gradients before them."""
    training = small_training()
    iterates.append(learned(training))
    training.on_train_batch_start = lambda batch, i: iterates.append(learned(training))
    before = training.on_before_optimizer_step

    def on_before_optimizer_step(optimizer):
        before(optimizer)
        if norms is not None:
            grads = [p.grad.flatten() for p in training.parameters() if p.grad is not None]
            norms.append(float(torch.cat(grads).double().norm()))

    training.on_before_optimizer_step = on_before_optimizer_step
    return training


def test_the_average_is_exponential(tmp_path):
    """3 steps end within an epoch, so that no earlier weights can be the best."""
    iterates = []
    training = watched(iterates)
    run(tmp_path, steps=3, training=training, ema=0.75)
    saved = read_checkpoint(newest(tmp_path))["current_model_state"].items()
    last = {name.removeprefix("reconstructor."): value for name, value in saved}
    iterates.append({name: last[name] for name in iterates[0]})
    expected = {name: value.double() for name, value in iterates[0].items()}
    for weights in iterates[2:]:
        for name, value in weights.items():
            expected[name] = 0.75 * expected[name] + 0.25 * value.double()
    kept = read_weights(tmp_path)
    for name, value in expected.items():
        assert torch.allclose(kept[name].double(), value, rtol=1e-5, atol=1e-8), name
    assert not all(torch.equal(kept[name], last[name]) for name in expected)


def test_validation_uses_the_average_and_training_does_not(tmp_path):
    run(tmp_path / "plain", steps=6)
    run(tmp_path / "averaged", steps=6, ema=0.999)
    plain, averaged = (read_checkpoint(newest(tmp_path / name)) for name in ("plain", "averaged"))
    states = [plain["state_dict"], averaged["current_model_state"]]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), "averaging changes no step"
    rows = [scores(tmp_path / name) for name in ("plain", "averaged")]
    assert rows[0] != rows[1]


def test_the_best_weights_of_the_average_give_the_validated_score(tmp_path):
    found = run(tmp_path, steps=12, ema=0.8)[1]
    training = small_training()
    load_checkpoint(training.reconstructor, tmp_path / "checkpoints/best.ckpt")
    (batch,) = small_data().evaluation_loader("validation")
    with torch.no_grad():
        image = training.compare(batch, "validation")[0].image
    psnr = float(training.metrics(image, batch.images)["psnr"].mean())
    assert psnr == pytest.approx(max(scores(tmp_path)), abs=1e-5)
    assert run(tmp_path, steps=12, ema=0.8, resume_from=newest(tmp_path))[1] == found


def scores(directory):
    with (directory / "metrics.csv").open() as file:
        return [float(r["validation/psnr"]) for r in csv.DictReader(file) if r["validation/psnr"]]


def test_callbacks_resume_bit_identically(tmp_path):
    settings = {"steps": 9, "ema": 0.9, "early_stopping": 5, "log_gradient_norm": True}
    uninterrupted = run(tmp_path / "uninterrupted", **settings, checkpoint_every=2)[1]
    again = run_with_kills(tmp_path / "cut", [3, 5, 8], **settings, checkpoint_every=2)[1]
    assert uninterrupted == again
    assert same(tmp_path / "uninterrupted", tmp_path / "cut")


def test_early_stopping_also_stops_a_resumed_run(tmp_path):
    falling = iter([0.0, 20.0, 21.0, 20.5, 20.9, 19.0])  # the first before the training
    training = small_training()

    def validation_step(batch, batch_idx):
        training.log("validation/psnr", torch.tensor(next(falling)), batch_size=1)

    training.validation_step = validation_step
    result = run(tmp_path, steps=40, training=training, early_stopping=2)[1]
    assert result == {"best validation/psnr": 21.0, "steps": 16.0}
    again = run(tmp_path, steps=40, resume_from=newest(tmp_path), early_stopping=2)[1]
    assert again["steps"] == 16.0


def test_the_norm_of_the_gradient_is_logged_before_it_is_clipped(tmp_path):
    norms = []
    run(tmp_path, steps=4, training=watched([], norms), log_gradient_norm=True, gradient_clip=1e-6)
    with (tmp_path / "metrics.csv").open() as file:
        logged = [float(r["train/gradient_norm"]) for r in csv.DictReader(file) if r["train/loss"]]
    assert logged == pytest.approx(norms, rel=1e-5)


def test_pictures_show_truth_reconstruction_and_difference(tmp_path):
    run(tmp_path, steps=16, images_every=2)
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert names == ["0000008.png", "0000016.png"]
    picture = np.asarray(Image.open(tmp_path / "images" / names[0])).astype(float) / 255
    truth, image, error = np.split(picture, 3, axis=1)
    inside = 5 * np.abs(image - truth) < 0.95
    assert np.abs(error - 5 * np.abs(image - truth))[inside].max() < 0.03
    assert image.std() > 0.02


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"ema": 1.0}, r"ema = 1\.0: must be in \(0, 1\)"), ({"early_stopping": 0}, "of at least 1")],
)
def test_values_out_of_range_are_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        TrainerSettings(**setting)


def test_shards_divide_the_batch():
    settings = TrainerSettings(shards=3)
    with pytest.raises(
        ConfigError, match=r"TrainerSettings\.shards = 3: must divide the batch size, 8"
    ):
        settings.parts(8)
    with pytest.raises(ConfigError, match="must be their number, 2, or null"):
        TrainerSettings(shards=3, devices=2, strategy="ddp")
    assert TrainerSettings(shards=2, devices=2, strategy="ddp").parts(8) == 1
    assert TrainerSettings(accelerator="cpu").parts(8) == 2
    assert TrainerSettings(accelerator="cpu").parts(7) == 1


def test_shards_do_not_change_the_gradients(tmp_path):
    """The mean gradient of the parts is that of the batch, also with gradient accumulation."""
    ends = []
    for shards in (1, 2, 4):
        training = small_training()
        training.shards, training.optimizer = Shards(shards), SGD(lr=1.0)
        run(tmp_path / str(shards), steps=2, training=training, accumulate=2, gradient_clip=None)
        ends.append(learned(training))
    start = learned(small_training())
    for name, batch in ends[0].items():
        moved = (batch - start[name]).norm()
        assert moved > 0
        for parts in ends[1:]:
            assert (parts[name] - batch).norm() <= 1e-4 * moved
