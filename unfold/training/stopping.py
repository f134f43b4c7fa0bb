"""Signals that ask a run to end: it may finish what it is doing, once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from unfold.errors import InterruptedRunError, PreemptedError

ERRORS = {signal.SIGTERM: PreemptedError, signal.SIGINT: InterruptedRunError}
"""The signals that are answered, and the error, with its exit code, that each becomes."""


def preempted(number: int, where: str) -> PreemptedError:
    """The error that a signal becomes."""
    name = signal.Signals(number).name
    text = f"{name}: ended {where}. The same command continues it."
    return ERRORS[signal.Signals(number)](text)


class StopRequest:
    """Whether a signal has asked to end; a second one ends the process at once."""

    def __init__(self) -> None:
        self.number: int | None = None

    def listen(self) -> None:
        """Take notice of signals from now on; only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            for number in ERRORS:
                signal.signal(number, self._notice)

    def _notice(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def raising_signals() -> Iterator[None]:
    """Turn the signals into errors, so that a run writes down how it ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise preempted(number, "between two checkpoints")

    before = {number: signal.signal(number, end) for number in ERRORS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
