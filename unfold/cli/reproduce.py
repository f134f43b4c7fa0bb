"""`unfold reproduce RUN`: run it again elsewhere, and compare what comes out."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from unfold.cli.diff import show_differences
from unfold.cli.report import say, short
from unfold.cli.run_words import expect, run_words
from unfold.config.overrides import key_of
from unfold.errors import ConfigError, RunError
from unfold.runs.catalogue import read_entry
from unfold.runs.comparison import compare
from unfold.runs.reference import Reference, read_reference

FILES = ("weights.safetensors", "metrics.csv", "results.json")
"""What must have the same bytes, where the run has it."""

PROGRAM = "from unfold.cli.main import main; main()"


def reproduce(words: Sequence[str]) -> int:
    """Repeat a finished run in a temporary folder: 0 where its files have the same bytes, else 1.

    Bits are promised for the same code, versions, processor and number of threads; where one of
    them is another, the differences say so.

    Raises:
        ConfigError: the run does not exist, or is not finished.
        RunError: the repetition failed.
    """
    typed = run_words("reproduce", words)
    expect("reproduce", typed.names, "one run, unfold reproduce RUN", 1)
    reference = read_reference(typed.names[0], typed.runs_dir)
    if reference.status.state != "finished":
        state = read_entry(reference.path, reference.path.name).state
        raise ConfigError(f"{short(reference.path)} is {state}: only a finished run is repeated.")
    with tempfile.TemporaryDirectory() as folder:
        again = _repeat(reference, Path(folder), typed.rest)
        return verdict(reference.path, again)


def _repeat(reference: Reference, folder: Path, more: Sequence[str]) -> Path:
    command = [*repeated_words(reference), *_without(more, {"runs_dir"}), f"runs_dir={folder}"]
    say(f"repeating {short(reference.path)}: {' '.join(command[:-1])}")
    done = subprocess.run([sys.executable, "-c", PROGRAM, "train", *command], check=False)
    found = [path.parent for path in folder.glob("*/*/results.json")]
    if done.returncode != 0 or len(found) != 1:
        raise RunError(f"the repetition ended with exit code {done.returncode}, before its end.")
    return found[0]


def repeated_words(reference: Reference) -> list[str]:
    """The words that make the same run in another place; a run never brings its own trust."""
    words = _without(reference.overrides, {"runs_dir", "rerun", "trust", "init_from"})
    start = reference.config.get("init_from")
    if start is None:
        return words
    root = Path(str(reference.config["runs_dir"]))
    return [*words, f"init_from={read_reference(str(start), root).path}"]


def _without(words: Sequence[str], keys: set[str]) -> list[str]:
    return [word for word in words if key_of(word) not in keys]


def verdict(one: Path, again: Path) -> int:
    """Say what two runs of the same words have apart; 0 where their files have the same bytes."""
    apart = [name for name in FILES if _bytes(one / name) != _bytes(again / name)]
    if not apart:
        say(f"reproduced: {', '.join(n for n in FILES if (one / n).exists())} have the same bytes.")
        return 0
    say(f"not reproduced to the bit: {', '.join(apart)} differ.")
    show_differences(compare(one, again), one, again)
    return 1


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
