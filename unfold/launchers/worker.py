"""What a cluster runs instead of the command of a job: it starts and watches the command."""

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from unfold.disk import write_text
from unfold.launchers.launcher import CODE, LOG

RESTARTS = "SLURM_RESTART_COUNT"
"""How many times SLURM has restarted the job."""

SAVED = 143
"""The exit code of a run that was asked to end, and saved its state."""

OF_TASKS = ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_PROCID", "SLURM_LOCALID")
"""Lightning expects one task per rank from these; a job of a single task starts its own ranks."""


class Worker:
    """Runs one command line, answers signals for it, and writes its exit code down.

    SLURM signals every process of a job by itself. SIGTERM is not passed on, since a second one
    ends the command at once; SIGUSR2, before a time limit, is kept from the command, which it would
    kill, and becomes a SIGTERM, on which it saves its state.

    Every task of a job has a worker; that of rank zero reports for the job.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        requeues: int = 0,
    ) -> None:
        self.command, self.environment, self.folder = list(command), dict(environment), folder
        self.requeues = requeues
        self._asked: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Run it."""
        task = int(os.environ.get("SLURM_PROCID", "0"))
        if task == 0:
            (self.folder / CODE).unlink(missing_ok=True)  # of the start before this one
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # what is ignored stays so in the command
        restarts = int(os.environ.get(RESTARTS, "0"))
        with (self.folder / (f"{LOG}.{task}" if task else LOG)).open("ab") as log:
            self._process = subprocess.Popen(
                without_rerun(self.command) if restarts else self.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(speaks=task == 0),
            )
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, self._ask)
        code = self._process.wait()
        job = os.environ.get("SLURM_JOB_ID", "")
        limit = self._asked == signal.SIGUSR2 or (self._asked is not None and _preempted(job))
        if limit and code == SAVED and restarts < self.requeues:
            if task == 0:
                subprocess.run(["scontrol", "requeue", job], check=False)
            raise SystemExit(SAVED)
        if task == 0:
            write_text(self.folder / CODE, str(code))
        if code == SAVED:
            raise SystemExit(SAVED)  # a result would mean that the job is over
        return code

    def _environment(self, *, speaks: bool) -> dict[str, str]:
        hidden = OF_TASKS if os.environ.get("SLURM_NTASKS", "1") == "1" else ()
        own = {name: value for name, value in os.environ.items() if name not in hidden}
        return own | self.environment if speaks else own

    def _ask(self, number: int, frame: FrameType | None) -> None:
        first, self._asked = self._asked is None, number
        if first and self._process is not None and number == signal.SIGUSR2:
            self._process.send_signal(signal.SIGTERM)


def _preempted(job: str) -> bool:
    """Whether SLURM took the job's place: it does not requeue one that ends in its grace time."""
    if not job:
        return False
    line = ["scontrol", "--oneliner", "show", "job", job]
    shown = subprocess.run(line, capture_output=True, text=True, check=False).stdout
    return bool(re.search(r"\bPreemptTime=\d", shown))


def without_rerun(command: Sequence[str]) -> list[str]:
    """The command that resumes its run, which `rerun=true` would repeat at each restart."""
    return [text for text in command if not text.lstrip("+").startswith("rerun=")]
