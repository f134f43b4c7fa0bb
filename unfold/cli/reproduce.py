"""`unfold reproduce RUN`: repeat a run elsewhere, and compare the results."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from unfold.cli.console import say, short
from unfold.cli.runs import RUNS_DIR, show_differences
from unfold.cli.runtime import safe_environment
from unfold.config.arguments import Syntax
from unfold.config.overrides import key_of
from unfold.config.stored_run import stored_overrides, with_full_paths
from unfold.errors import ConfigError, RunError
from unfold.runs import files
from unfold.runs.catalogue import Entry, read_reference
from unfold.runs.compare import DECIBELS, RATIO, compare, platform_differences, score_differences
from unfold.runs.redact import redacted_overrides
from unfold.runs.status import OUTCOME_VARIABLE

FILES = ("weights.safetensors", "metrics.csv", "results.json", "evaluation/*.csv")
"""What must have the same bytes on the same platform, where the run has it."""

SYNTAX = Syntax(
    "reproduce",
    "Repeat a finished run in a temporary folder, and compare the results.",
    ("RUN",),
    RUNS_DIR,
)


def reproduce(arguments: Sequence[str]) -> int:
    """Repeat a finished run in a temporary folder: 0 where it is reproduced, else 1.

    On the platform of the run the files must be bit-identical; on another one the scores must
    agree within a tolerance, and the differences of the platforms are reported.
    """
    typed = SYNTAX.parse(arguments)
    reference = read_reference(typed.names[0], typed.runs_dir)
    if reference.state != "finished":
        where = short(reference.path)
        raise ConfigError(f"{where} is {reference.state}: only a finished run is repeated.")
    given = [*typed.folder_flags, *typed.overrides]
    with tempfile.TemporaryDirectory() as folder:
        return verdict(reference.path, _repeat(reference, Path(folder), given))


def _repeat(reference: Entry, folder: Path, given: Sequence[str]) -> Path:
    command = [*repeated_arguments(reference, given), *given]
    say(f"repeating {short(reference.path)}: {' '.join(redacted_overrides(command))}")
    done = subprocess.run(
        [sys.executable, "-m", "unfold.cli", "train", *command, f"runs_dir={folder}"],
        check=False,
        env=safe_environment() | {OUTCOME_VARIABLE: str(folder / "outcome.json")},
    )
    found = [path.parent for path in folder.glob("*/*/results.json")]
    if done.returncode != 0 or len(found) != 1:
        raise RunError(f"the repetition ended with exit code {done.returncode}, before its end.")
    return found[0]


def repeated_arguments(reference: Entry, given: Sequence[str] = ()) -> list[str]:
    """The arguments that make the same run in another place, in addition to those given."""
    root = Path(str(reference.config.get("runs_dir", "runs")))
    kept = [text for text in stored_overrides(reference, given) if key_of(text) != "runs_dir"]
    start = reference.config.get("init_from")
    if start is not None and "init_from" not in map(key_of, [*kept, *given]):
        kept.append(f"init_from={start}")  # from a file of options
    return with_full_paths(kept, root)


def verdict(one: Path, repeated: Path) -> int:
    """Report the differences of a run and its repetition; 0 where there are none, or explained."""
    found = ((root, path) for root in (one, repeated) for n in FILES for path in root.glob(n))
    names = list(dict.fromkeys(str(path.relative_to(root)) for root, path in found))
    different = [name for name in names if _bytes(one / name) != _bytes(repeated / name)]
    if not different:
        say(f"reproduced: {', '.join(names)} have the same bytes.")
        return 0
    say(f"not reproduced to the bit: {', '.join(different)} differ.")
    show_differences(compare(one, repeated), one, repeated)
    platforms = platform_differences(one, repeated)
    if not platforms:
        say("not reproduced: on the same platform every bit must be the same.")
        return 1
    say("another platform, so that figures are compared, not bits:")
    for what, there, here in platforms:
        say(f"  {what}: {there} then, {here} now")
    far = score_differences(*(files.read_json(path / "results.json") for path in (one, repeated)))
    bound = f"{DECIBELS} dB, or {100 * RATIO:.1f} % where they are not in dB"
    for name, before, now in far:
        say(f"  {name} = {before} then, {now} now")
    say(f"{'not ' if far else ''}reproduced: {len(far)} figures differ by more than {bound}.")
    return 1 if far else 0


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
