"""States belong to their run, and best weights are read where a training continues."""

import shutil

import pytest
import torch

from tests.training.small import killed_at, run, small_training
from unfold.errors import CheckpointError, NonFiniteError, RunError
from unfold.training.checkpoints.checksum import LAST
from unfold.training.checkpoints.weights import (
    check_finite,
    read_checkpoint,
    write_checkpoint,
)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Two runs that were killed after their first validation."""
    root = tmp_path_factory.mktemp("runs")
    for name in ("one", "two"):
        with pytest.raises(BaseException):  # noqa: B017
            run(root / name, training=killed_at(9), steps=12, checkpoint_every=4)
        assert (root / name / "checkpoints/best.ckpt").is_file()
    return root


def copied(stopped, tmp_path):
    return shutil.copytree(stopped / "one", tmp_path / "one")


@pytest.mark.parametrize("name", [LAST, "best.ckpt"])
def test_a_state_of_another_run_is_refused_at_the_start(stopped, tmp_path, name):
    directory = copied(stopped, tmp_path)
    shutil.copyfile(stopped / "two/checkpoints" / name, directory / "checkpoints" / name)
    training = killed_at(8)  # a step would end it otherwise
    with pytest.raises(CheckpointError, match=rf"{name}: is a state of the run two.*rerun=true"):
        run(directory, training=training, steps=12, resume_from=directory / "checkpoints" / LAST)


@pytest.mark.parametrize("damage", ["deleted", "cut", "flipped"])
def test_damaged_best_weights_are_found_at_the_start(stopped, tmp_path, damage):
    directory = copied(stopped, tmp_path)
    best = directory / "checkpoints/best.ckpt"
    content = bytearray(best.read_bytes())
    content[len(content) // 2] ^= 1
    best.unlink()
    if damage != "deleted":
        best.write_bytes(content[:-1] if damage == "cut" else content)
    with pytest.raises(CheckpointError, match=r"best\.ckpt: not a readable checkpoint"):
        run(
            directory,
            training=killed_at(8),
            steps=12,
            resume_from=directory / "checkpoints" / LAST,
        )


def test_a_state_is_read_in_its_own_place(stopped):
    assert "run" not in read_checkpoint(stopped / "one/checkpoints" / LAST)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_before_the_first_step(value):
    reconstructor = small_training().reconstructor
    check_finite(reconstructor)
    with torch.no_grad():
        next(reconstructor.parameters()).view(-1)[0] = value
    name = next(name for name, _ in reconstructor.named_parameters())
    with pytest.raises(NonFiniteError, match=rf"{name}: not finite before the first step"):
        check_finite(reconstructor)


def test_states_of_another_kind_and_curves_of_another_run_are_refused(stopped, tmp_path):
    def resumed():
        run(folder.parent, training=killed_at(9), steps=12, resume_from=folder / LAST)

    folder = copied(stopped, tmp_path) / "checkpoints"
    last, best = ((folder / name).read_bytes() for name in (LAST, "best.ckpt"))
    (folder / LAST).write_bytes(best)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: holds weights"):
        resumed()
    (folder / LAST).write_bytes(last)
    state = read_checkpoint(folder / LAST)
    del state["curves"]
    write_checkpoint(state, folder / LAST)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: does not say which curves"):
        resumed()
    (folder / LAST).write_bytes(last)
    (folder / "best.ckpt").write_bytes(last)
    with pytest.raises(CheckpointError, match=r"best\.ckpt: holds the state"):
        resumed()
    (folder / "best.ckpt").write_bytes(best)
    curves = folder.parent / "metrics.csv"
    head, row, *rest = curves.read_text().splitlines(keepends=True)
    for lines in ([head, row.replace("0.", "1.", 1), *rest], [head, *rest], []):
        curves.write_text("".join(lines))
        with pytest.raises(RunError, match=r"metrics\.csv: was changed, or is of another run"):
            resumed()
    curves.write_text("".join([head, row, *rest, "77,1\n"]))
    with pytest.raises(BaseException, match=r"^(?!.*metrics)"):
        resumed()
