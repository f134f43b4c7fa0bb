"""Two processes that are killed and resumed, against two that are not, and against one."""

import signal
from pathlib import Path

from safetensors.numpy import load_file

from tests.faults.training import (
    TINY,
    Verdict,
    directory,
    finish,
    kill_group,
    rows_of,
    start,
    wait_until,
)

STEPS = 60
WORDS = [*TINY, f"trainer.max_steps={STEPS}"]
TWO = ["trainer=ddp_cpu", "trainer.devices=2"]


def weights(run: Path) -> dict[str, bytes]:
    """The bits of every tensor."""
    return {name: t.tobytes() for name, t in load_file(run / "weights.safetensors").items()}


def trial(folder: Path) -> Verdict:
    """Kill both processes once, in the middle."""
    one = weights(finish(folder / "one", WORDS))
    two = weights(finish(folder / "two", [*WORDS, *TWO]))
    process = start(folder / "killed", [*WORDS, *TWO])
    run = directory(folder / "killed")
    wait_until(lambda: len(rows_of(run)) >= STEPS // 2, process)
    kill_group(process, signal.SIGKILL)
    killed = weights(finish(folder / "killed", [*WORDS, *TWO]))
    same = (killed == two) + (one == two)
    return Verdict(
        same == 2, f"{same} of 2 pairs are bit-identical: killed or not, two processes or one"
    )
