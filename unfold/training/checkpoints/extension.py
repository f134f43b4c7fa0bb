"""Training longer: the state in which a finished training ended, as the start of a longer one."""

from pathlib import Path
from typing import Any

from unfold.disk import read_bytes, write_bytes
from unfold.training.checkpoints.callback import BEST
from unfold.training.checkpoints.checksum import LAST
from unfold.training.checkpoints.weights import read_checkpoint, write_checkpoint


def adopt(parent: Path, directory: Path) -> Path:
    """Copy the curves, the best weights and the state of a finished run; the state comes last.

    Raises:
        CheckpointError: a state of the parent cannot be read, or is of another run.
    """
    source, target = parent / "checkpoints", directory / "checkpoints"
    if (curves := parent / "metrics.csv").is_file():
        write_bytes(directory / curves.name, read_bytes(curves))
    if (source / BEST).is_file():
        write_checkpoint(read_checkpoint(source / BEST), target / BEST)
    write_checkpoint(reopened(read_checkpoint(source / LAST)), target / LAST)
    return target / LAST


def reopened(state: dict[str, Any]) -> dict[str, Any]:
    """The state of the end of a training, as a longer one has it before the next batch.

    At its last step Lightning counts the epoch as complete. In the middle of an epoch that is taken
    back; at its end the next one is begun, with the counters of its batches at zero.
    """
    loop = state["loops"]["fit_loop"]
    epoch, batch = loop["epoch_progress"], loop["epoch_loop.batch_progress"]
    if not batch["is_last_batch"]:
        for counters in epoch.values():
            counters |= {"processed": counters["processed"] - 1}
            counters |= {"completed": counters["completed"] - 1}
        return state | {"epoch": state["epoch"] - 1}
    for counters in epoch.values():
        counters |= dict.fromkeys(("ready", "started"), counters["completed"] + 1)
    steps = loop["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    done = (batch, loop["epoch_loop.scheduler_progress"], *steps.values())
    seen = loop["epoch_loop.val_loop.batch_progress"]["total"]
    for counters in (*(one["current"] for one in done), seen):
        counters |= dict.fromkeys(counters, 0)
    batch["is_last_batch"] = False
    return state
