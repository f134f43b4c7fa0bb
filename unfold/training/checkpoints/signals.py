"""Signals that ask a run to end: it may finish what it is doing, once."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from unfold.errors import InterruptedRunError, PreemptedError


class HungUpError(PreemptedError):
    """A run whose terminal went away, and that saved what it needs to continue."""

    exit_code = 128 + signal.SIGHUP


class WarnedError(PreemptedError):
    """A run that a scheduler warned of its time limit, and that saved what it needs to continue."""

    exit_code = 128 + signal.SIGUSR1


ERRORS = {
    signal.SIGTERM: PreemptedError,
    signal.SIGINT: InterruptedRunError,
    signal.SIGHUP: HungUpError,
    signal.SIGUSR1: WarnedError,
}
"""The signals that are answered, and the error, with its exit code, that each becomes."""


def _answered() -> list[signal.Signals]:
    """All but what is ignored on purpose, as `nohup` does with SIGHUP.

    SIGINT is answered always: shells ignore it for whatever they start in the background.
    """
    ignored = [number for number in ERRORS if signal.getsignal(number) is signal.SIG_IGN]
    return [number for number in ERRORS if number is signal.SIGINT or number not in ignored]


def preempted(number: int, where: str) -> PreemptedError:
    """The error that a signal becomes."""
    name = signal.Signals(number).name
    text = f"{name}: ended {where}. The same command continues it."
    return ERRORS[signal.Signals(number)](text)


TOGETHER = 1.0
"""Seconds within which the same signal twice is one: a group of processes gets what a sweep, one of
them, passes on to its jobs."""


class Asks:
    """The signals that came; the same one again, not together with the first, ends the process."""

    def __init__(self) -> None:
        self._at: dict[int, float] = {}

    def is_first(self, number: int) -> bool:
        """Whether the signal had not come before."""
        if number not in self._at:
            self._at[number] = time.monotonic()
            return True
        if time.monotonic() - self._at[number] > TOGETHER:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return False


class StopRequest:
    """Whether a signal has asked to end; the same one again ends the process at once."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._asks = Asks()

    def listen(self) -> None:
        """Take notice of signals from now on; only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            for number in _answered():
                signal.signal(number, self._notice)

    def _notice(self, number: int, frame: FrameType | None) -> None:
        # A sweep passes on SIGTERM to a job that the terminal has interrupted: that is no second.
        if self._asks.is_first(number):
            self.number = self.number or number


@contextmanager
def raising_signals() -> Iterator[None]:
    """Turn the signals into errors, so that a run writes down how it ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    asks = Asks()

    def end(number: int, frame: FrameType | None) -> None:
        if asks.is_first(number):
            raise preempted(number, "between two checkpoints")

    before = {number: signal.signal(number, end) for number in _answered()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
