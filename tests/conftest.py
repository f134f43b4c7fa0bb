"""What all tests share."""

import os
from collections.abc import Iterator

import pytest
import torch

# The problems are small: one thread is faster, and some threaded LAPACK routines fail on them.
# There is a process of tests for each CPU, and a command of theirs takes no more than one either.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """A command that is called in a test sets the threads of the whole process."""
    yield
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
