"""What a job may change in its process, put back afterwards."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def as_single_job(command: Sequence[str]) -> Iterator[None]:
    """Make the process look like one that runs this job alone.

    Lightning starts the other ranks of a distributed training by repeating `sys.argv`; under a
    sweep that would be the whole sweep. It also leaves its own variables behind.

    Args:
        command: the words after the program's name that run this job.
    """
    argv, environment = sys.argv, dict(os.environ)
    sys.argv = [argv[0], *command]
    try:
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
