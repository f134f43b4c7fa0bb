"""Signals that ask a run to end: it finishes the current step, once."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from unfold.errors import InterruptedRunError, PreemptedError


class HungUpError(PreemptedError):
    """A run whose terminal was closed, after saving a checkpoint."""

    exit_code = 128 + signal.SIGHUP


class WarnedError(PreemptedError):
    """A run that was warned of its time limit by a scheduler, after saving a checkpoint."""

    exit_code = 128 + signal.SIGUSR1


ERRORS = {
    signal.SIGTERM: PreemptedError,
    signal.SIGINT: InterruptedRunError,
    signal.SIGHUP: HungUpError,
    signal.SIGUSR1: WarnedError,
}
"""The signals that are handled, and the error, with its exit code, that each becomes."""


def _handled() -> list[signal.Signals]:
    """All signals except those ignored on purpose, as `nohup` ignores SIGHUP.

    SIGINT is always handled: shells ignore it for all background processes.
    """
    ignored = [number for number in ERRORS if signal.getsignal(number) is signal.SIG_IGN]
    return [number for number in ERRORS if number is signal.SIGINT or number not in ignored]


def preempted(number: int, where: str) -> PreemptedError:
    """The error that a signal becomes."""
    name = signal.Signals(number).name
    text = f"{name}: ended {where}. The same command continues it."
    return ERRORS[signal.Signals(number)](text)


SAME_REQUEST = 1.0
"""Seconds within which a repeated signal counts once: a process group receives it directly, and
again from the sweep, which forwards it to its jobs."""


class Received:
    """The signals that were received; repeating one later than `SAME_REQUEST` ends the process."""

    def __init__(self) -> None:
        self._at: dict[int, float] = {}

    def is_first(self, number: int) -> bool:
        if number not in self._at:
            self._at[number] = time.monotonic()
            return True
        if time.monotonic() - self._at[number] > SAME_REQUEST:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return False


class StopRequest:
    """Whether a signal has asked to end; repeating it ends the process at once."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._received = Received()

    def listen(self) -> None:
        """Register signals from now on; only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            for number in _handled():
                signal.signal(number, self._register)

    def _register(self, number: int, frame: FrameType | None) -> None:
        # A sweep forwards SIGTERM to a job that the terminal has interrupted: not a second request.
        if self._received.is_first(number):
            self.number = self.number or number


@contextmanager
def raising_signals() -> Iterator[None]:
    """Turn the signals into errors, so that a run records how it ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    received = Received()

    def end(number: int, frame: FrameType | None) -> None:
        if received.is_first(number):
            raise preempted(number, "between two checkpoints")

    before = {number: signal.signal(number, end) for number in _handled()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
