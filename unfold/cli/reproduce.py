"""`unfold reproduce RUN`: run it again elsewhere, and compare what comes out."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from unfold.cli.arguments import expect, named_in_full, run_words, take_folders, words_again
from unfold.cli.console import say, short
from unfold.cli.diff import show_differences
from unfold.config.overrides import key_of
from unfold.errors import ConfigError, RunError
from unfold.runs import files
from unfold.runs.catalogue import read_entry
from unfold.runs.compare import compare
from unfold.runs.redact import redacted_overrides
from unfold.runs.reference import Reference, read_reference
from unfold.runs.tolerance import DECIBELS, RATIO, platforms_apart, scores_apart

FILES = ("weights.safetensors", "metrics.csv", "results.json")
"""What must have the same bytes on the same platform, where the run has it."""

PROGRAM = "from unfold.cli.main import main; main()"


def reproduce(words: Sequence[str]) -> int:
    """Repeat a finished run in a temporary folder: 0 where the same comes out, else 1.

    The same is the same bytes on the platform of the run; on another one, figures within a
    tolerance, and what is different about the platform is told.

    Raises:
        ConfigError: the run does not exist, or is not finished; a folder of its options is gone,
            or a secret that it does not keep is not given.
        RunError: the repetition failed.
    """
    folders, others = take_folders(words)
    typed = run_words("reproduce", others)
    expect("reproduce", typed.names, "one run, unfold reproduce RUN", 1)
    reference = read_reference(typed.names[0], typed.runs_dir)
    if reference.status.state != "finished":
        state = read_entry(reference.path, reference.path.name).state
        raise ConfigError(f"{short(reference.path)} is {state}: only a finished run is repeated.")
    given = [*folders, *(word for word in typed.rest if key_of(word) != "runs_dir")]
    with tempfile.TemporaryDirectory() as folder:
        again = _repeat(reference, Path(folder), given)
        return verdict(reference.path, again)


def _repeat(reference: Reference, folder: Path, given: Sequence[str]) -> Path:
    command = [*repeated_words(reference, given), *given]
    say(f"repeating {short(reference.path)}: {' '.join(redacted_overrides(command))}")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "train", *command, f"runs_dir={folder}"],
        check=False,
    )
    found = [path.parent for path in folder.glob("*/*/results.json")]
    if done.returncode != 0 or len(found) != 1:
        raise RunError(f"the repetition ended with exit code {done.returncode}, before its end.")
    return found[0]


def repeated_words(reference: Reference, given: Sequence[str] = ()) -> list[str]:
    """The words that make the same run in another place, beside those that are given.

    Raises:
        ConfigError: a folder of its options is gone, or a secret is not there to be read.
    """
    root = Path(str(reference.config.get("runs_dir", "runs")))
    words = [word for word in words_again(reference, given) if key_of(word) != "runs_dir"]
    start = reference.config.get("init_from")
    if start is not None and "init_from" not in map(key_of, [*words, *given]):
        words.append(f"init_from={start}")  # from a file of options
    return named_in_full(words, root)


def verdict(one: Path, again: Path) -> int:
    """Say what two runs of the same words have apart; 0 where that is nothing, or explained."""
    apart = [name for name in FILES if _bytes(one / name) != _bytes(again / name)]
    if not apart:
        say(f"reproduced: {', '.join(n for n in FILES if (one / n).exists())} have the same bytes.")
        return 0
    say(f"not reproduced to the bit: {', '.join(apart)} differ.")
    show_differences(compare(one, again), one, again)
    platforms = platforms_apart(one, again)
    if not platforms:
        say("not reproduced: on the same platform every bit must be the same.")
        return 1
    say("another platform, so that figures are compared, not bits:")
    for what, there, here in platforms:
        say(f"  {what}: {there} then, {here} now")
    far = scores_apart(*(files.read_json(path / "results.json") for path in (one, again)))
    bound = f"{DECIBELS} dB, or {100 * RATIO:.1f} % where they are not in dB"
    for name, before, now in far:
        say(f"  {name} = {before} then, {now} now")
    say(f"{'not ' if far else ''}reproduced: {len(far)} figures differ by more than {bound}.")
    return 1 if far else 0


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
