"""What a job may change in its process, put back afterwards."""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from unfold.runs.hidden_words import hidden


@contextmanager
def as_single_job(command: Sequence[str]) -> Iterator[None]:
    """Make the process look like one that runs this job alone.

    Lightning starts the other ranks of a distributed training by repeating `sys.argv`; under a
    sweep that would be the whole sweep. It also leaves its own variables behind. Trackers of
    experiments keep `sys.argv` too: it has no secrets.

    Args:
        command: the words after the program's name that run this job.
    """
    argv, environment = sys.argv, dict(os.environ)
    try:
        with tempfile.TemporaryDirectory() as folder:
            shown = hidden(command, Path(folder))
            sys.argv = [argv[0], *shown.words]
            os.environ.update(shown.variables)
            yield
    finally:
        sys.argv = argv
        os.environ.clear()
        os.environ.update(environment)
        _leave_process_group()


def _leave_process_group() -> None:
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
