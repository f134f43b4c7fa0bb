"""Processes of this machine, found by their parents and their command lines."""

import os
import signal
from pathlib import Path


def _number(folder: Path) -> int:
    return int(folder.name)


def _parents() -> dict[int, int]:
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "stat").read_text()
        except OSError:  # it has ended
            continue
        found[_number(folder)] = int(text.rpartition(")")[2].split()[1])
    return found


def kill_tree(root: int) -> None:
    """Kill a process and all that it started, and what they started."""
    parents, tree = _parents(), [root]
    for one in tree:
        tree += [child for child, parent in parents.items() if parent == one]
    for one in tree:
        _signal(one, signal.SIGKILL)


def of_run(*words: str) -> list[int]:
    """The processes of single runs whose command line has all these words, oldest first."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if set(words) <= set(line) and "-m" not in line:  # which a sweep has
            found.append(_number(folder))
    return sorted(found)


def signal_runs(number: signal.Signals, *words: str) -> bool:
    """Signal the processes of single runs; whether there were any."""
    reached = [_signal(one, number) for one in of_run(*words)]
    return any(reached)


def _signal(process: int, number: signal.Signals) -> bool:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return False
    return True
