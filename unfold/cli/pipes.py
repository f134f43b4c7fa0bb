"""Output that nobody reads any more: `python train.py | head` trains to the end all the same."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

CLOSED = 141
"""The exit code that a shell gives a process which wrote into a closed pipe."""


class Enduring(io.FileIO):
    """A file descriptor that leads nowhere once its pipe is closed.

    Args:
        descriptor: of the pipe.
        closed: gets the descriptor when the pipe is closed.
    """

    def __init__(self, descriptor: int, closed: list[int]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._lost = closed

    def write(self, data: Any) -> int:
        """Write it, or lose it; the processes that this one starts lose theirs too."""
        try:
            return super().write(data)
        except BrokenPipeError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            self._lost.append(self.fileno())
            return memoryview(data).nbytes


@contextmanager
def enduring_pipes() -> Iterator[list[int]]:
    """Let both streams of this process outlive their readers; gives the descriptors that had to.

    Streams that are not those the process began with are left alone.
    """
    closed: list[int] = []
    with ExitStack() as stack:
        for stream, own, redirect in (
            (sys.stdout, sys.__stdout__, redirect_stdout),
            (sys.stderr, sys.__stderr__, redirect_stderr),
        ):
            if stream is own and isinstance(stream, io.TextIOWrapper):
                enduring = over(stream, closed)
                stack.callback(enduring.flush)
                stack.enter_context(redirect(enduring))
        yield closed


def over(stream: io.TextIOWrapper, closed: list[int]) -> TextIO:
    """A stream like another one, that outlives its reader."""
    stream.flush()
    raw: Any = Enduring(stream.fileno(), closed)
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),  # PYTHONUNBUFFERED has no buffer
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
