"""What a training does where its machine is too small: it continues where it can."""

import errno
from collections import Counter

import pytest
import torch

from tests.training.small import killed_at, run
from tests.training.test_resume import STEPS, newest, same
from unfold.disk import DiskFullError
from unfold.models.deq import DEQ
from unfold.models.unfolded import Checkpoint, Unfolded
from unfold.training.checkpoints import weights as checkpoint
from unfold.training.checkpoints.callback import BEST
from unfold.training.checkpoints.checksum import LAST
from unfold.training.checkpoints.weights import read_checkpoint
from unfold.training.fit import OutOfMemoryError


@pytest.fixture
def full(monkeypatch):
    """The writes, by name and number, for which a disk has no room."""
    refused, asked, write = set(), Counter(), checkpoint.write_bytes

    def write_bytes(path, content, **more):
        asked[path.name] += 1
        if (path.name, asked[path.name]) in refused:
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr("unfold.disk._expect_room", no_room)
                return write(path, content, **more)
        return write(path, content, **more)

    def no_room(folder, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_bytes", write_bytes)
    return refused


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("uninterrupted")
    run(directory, steps=STEPS, checkpoint_every=1)
    return directory


def test_a_temporarily_full_disk_does_not_change_the_result(tmp_path, uninterrupted, full):
    full |= {(LAST, 3), (LAST, 4), (LAST, 6), (BEST, 1)}
    with pytest.warns(UserWarning, match=r"No space left.*The training continues, and tries again"):
        # States name their run, so that only runs of one name have the same bytes.
        run(directory := tmp_path / uninterrupted.name, steps=STEPS, checkpoint_every=1)
    assert same(uninterrupted, directory)
    best = [(folder / "checkpoints" / BEST).read_bytes() for folder in (uninterrupted, directory)]
    assert best[0] == best[1]


@pytest.mark.filterwarnings("ignore:.*The training continues")
def test_three_failed_writes_in_a_row_end_the_training(tmp_path, uninterrupted, full):
    full |= {(LAST, n) for n in (3, 4, 5)}
    with pytest.raises(DiskFullError, match=r"last\.ckpt cannot be written.*is kept") as caught:
        run(tmp_path, steps=STEPS, checkpoint_every=1)
    assert caught.value.exit_code == 6
    assert read_checkpoint(newest(tmp_path))["global_step"] == 2
    run(tmp_path, steps=STEPS, checkpoint_every=1, resume_from=newest(tmp_path))
    assert same(uninterrupted, tmp_path)


@pytest.mark.filterwarnings("ignore:.*The training continues")
def test_no_checkpoint_refers_to_unwritten_best_weights(tmp_path, full):
    full |= {(BEST, n) for n in range(1, 9)}
    with pytest.raises(DiskFullError, match=r"best\.ckpt cannot be written"):
        run(tmp_path, steps=STEPS, checkpoint_every=1)
    assert read_checkpoint(newest(tmp_path))["global_step"] == 3, "validation comes after step 4"


def test_the_last_checkpoint_must_be_written(tmp_path, full):
    full.add((LAST, 1))
    with pytest.raises(DiskFullError):
        run(tmp_path, steps=2, checkpoint_every=100)


def raising(error):
    def fail():
        raise error

    return killed_at(0, fail)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes."),
        MemoryError(),
    ],
)
def test_out_of_memory_is_explained_with_values_and_remedies(tmp_path, error):
    with pytest.raises(OutOfMemoryError) as caught:
        run(tmp_path, training=raising(error))
    said = str(caught.value)
    assert caught.value.exit_code == 6
    assert "EmbeddedData.batch_size = 4, EmbeddedData.crop = 16, " in said
    assert "Unfolded.iterations = 2; the peak was " in said
    assert "Use the Checkpoint backward pass" in said and "or a DEQ" in said
    assert str(error) in said
    assert "GB in this process" in said or "GB on the device" in said


@pytest.mark.parametrize(
    ("model", "left_out"),
    [
        (Unfolded(2, Checkpoint()), "Checkpoint"),
        (DEQ(max_iterations=7), "a DEQ"),
    ],
)
def test_choices_already_made_are_not_suggested(tmp_path, model, left_out):
    training = raising(MemoryError())
    training.reconstructor.model = model
    with pytest.raises(OutOfMemoryError, match="iterations = ") as caught:
        run(tmp_path, training=training)
    assert left_out not in str(caught.value)
    assert "a smaller batch_size or crop" in str(caught.value)


def test_a_full_disk_is_explained(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device", "images/1.png")
    with pytest.raises(DiskFullError, match=r"No space left on device \(images/1\.png\)"):
        run(tmp_path, training=raising(full))


@pytest.mark.parametrize("error", [RuntimeError("shape"), OSError(errno.EIO, "Input/output error")])
def test_other_errors_are_not_changed(tmp_path, error):
    with pytest.raises(type(error)) as caught:
        run(tmp_path, training=raising(error))
    assert caught.value is error
