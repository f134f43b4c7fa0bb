"""The words of `evaluate` and `reconstruct`: a run, files, and overrides of the run's settings."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from unfold.cli.console import short
from unfold.config.build import verify
from unfold.config.check import Checked
from unfold.config.compose import compose
from unfold.config.errors import refuse
from unfold.config.overrides import key_of, parse_arguments
from unfold.errors import ConfigError, UnfoldError, listing, nearest
from unfold.runs.redact import REDACTED, restored
from unfold.runs.reference import Reference, read_reference
from unfold.runs.weights import find_weights, names_weights


class Words(NamedTuple):
    """Keys of the command itself, and the overrides that remain."""

    own: Mapping[str, str]
    overrides: tuple[str, ...]


def split(words: Sequence[str], own: Sequence[str]) -> Words:
    """Take the keys of the command out of the words.

    Raises:
        ConfigError: a key of the command is given twice, or empty.
    """
    found: dict[str, str] = {}
    rest: list[str] = []
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or key not in own:
            rest.append(word)
        elif key in found or not value:
            raise ConfigError(f"{word}: give {key} once, with a value.")
        else:
            found[key] = value
    return Words(found, tuple(rest))


def existing_file(words: Words, key: str) -> Path | None:
    """The file that a key names; None where the key is not given.

    Raises:
        ConfigError: there is no such file.
    """
    if key not in words.own:
        return None
    path = Path(words.own[key]).expanduser()
    if not path.is_file():
        raise ConfigError(f"{key} = {path}: there is no such file.")
    return path


def named_run(words: Words, command: str) -> Reference:
    """The run that `run=` names.

    Raises:
        ConfigError: it is not given, or does not exist.
    """
    if "run" not in words.own:
        raise ConfigError(f"unfold {command} needs a run. Write unfold {command} run=DIR.")
    runs_dir = next(
        (w.partition("=")[2] for w in words.overrides if key_of(w) == "runs_dir"), "runs"
    )
    return read_reference(words.own["run"], runs_dir)


def configured(reference: Reference, overrides: Sequence[str]) -> Checked:
    """The run's configuration with the groups that the overrides touch composed anew.

    Raises:
        ConfigError: any mistake in the overrides, or in the run's configuration.
    """
    named = {key_of(word) for word in take_folders(overrides)[1]}
    composed = compose([*words_again(reference, overrides), *overrides])
    if not composed.jobs:
        refuse(composed.problems)
    job = composed.jobs[0]
    touched = {key.split(".")[0].split("/")[0] for key in named}
    own = {} if "experiment" in touched else reference.config
    stored = {k: v if k in touched else own.get(k, v) for k, v in job.config.items()}
    config = restored(stored, job.config)  # its secrets, which were not kept
    choices = {
        k: v if k in touched else reference.choices.get(k, v) for k, v in job.choices.items()
    }
    job = replace(job, config=config, choices=choices)
    return verify(replace(composed, jobs=(job,)))[0]


NOT_KEPT = frozenset({"trust", "rerun", "accept_code"})
"""A run never brings its own trust: it may come from a stranger. The others are of one start."""


def words_again(reference: Reference, given: Sequence[str]) -> list[str]:
    """The run's own folders and words, but for those in whose place others are given.

    Raises:
        ConfigError: a folder of its options is gone, or a secret is not there to be read.
    """
    typed = parse_arguments(given)
    named = {key_of(word) for word in typed.overrides}
    kept = [word for word in reference.overrides if key_of(word) not in {*named, *NOT_KEPT}]
    for word in kept:
        if REDACTED in word:
            raise ConfigError(
                f"{short(reference.path)}: the value of {key_of(word)} is secret and was not kept. "
                f"Give it again, {key_of(word)}=VALUE or {key_of(word)}='${{oc.env:NAME}}'."
            )
    folders = () if typed.config_dirs else reference.folders
    return [*(_flag(reference, folder) for folder in folders), *kept]


def _flag(reference: Reference, folder: Path) -> str:
    if not folder.is_dir():
        raise ConfigError(
            f"{short(reference.path)} was made with --config-dir {folder}, which is gone. Say "
            "where its options are now: --config-dir DIR."
        )
    return f"--config-dir={folder}"


def take_folders(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The flags --config-dir, each as one word, and the other words."""
    flags: list[str] = []
    others: list[str] = []
    left = iter(words)
    for word in left:
        flag, equals, value = word.partition("=")
        if flag in ("-cd", "--config-dir"):
            flags.append(f"--config-dir={value if equals else next(left, '')}")
        else:
            others.append(word)
    return flags, others


def named_in_full(words: Sequence[str], runs_dir: str | Path) -> list[str]:
    """The words with the weights of other runs by their path, which holds for any `runs_dir`."""
    return [_in_full(word, runs_dir) for word in words]


def _in_full(word: str, runs_dir: str | Path) -> str:
    key, _, value = word.partition("=")
    if not names_weights(key_of(word), value) or value in ("", "null"):
        return word
    try:
        return f"{key}={find_weights(value, runs_dir).resolve()}"
    except UnfoldError:
        return word


class RunWords(NamedTuple):
    """What was typed.

    names: words that are neither a flag nor a setting.
    flags: the value of each flag, by its name without dashes.
    rest: settings, key=value.
    """

    names: tuple[str, ...]
    flags: dict[str, str]
    rest: tuple[str, ...]

    @property
    def runs_dir(self) -> Path:
        """The folder of all runs."""
        given = [word.partition("=")[2] for word in self.rest if word.startswith("runs_dir=")]
        return Path(given[-1] if given else "runs").expanduser()

    def only_runs_dir(self, command: str) -> None:
        """Refuse every other setting.

        Raises:
            ConfigError: there is one.
        """
        for word in self.rest:
            if not word.startswith("runs_dir="):
                raise ConfigError(f"{word}: unfold {command} takes only runs_dir=DIR.")


def run_words(command: str, words: Sequence[str], flags: Sequence[str] = ()) -> RunWords:
    """Tell names, flags and settings apart.

    Raises:
        ConfigError: a flag that the command does not have, or one without a value.
    """
    names: list[str] = []
    found: dict[str, str] = {}
    rest: list[str] = []
    left = iter(words)
    for word in left:
        flag, _, value = word.partition("=")
        if word.startswith("--"):
            found[_known(command, flag[2:], flags)] = value or _next(flag, next(left, ""))
        elif "=" in word:
            rest.append(word)
        else:
            names.append(word)
    return RunWords(tuple(names), found, tuple(rest))


def _known(command: str, name: str, flags: Sequence[str]) -> str:
    if name not in flags:
        near = nearest(name, flags)
        raise ConfigError(f"--{name}: unfold {command} has no such flag{near} {listing(flags)}.")
    return name


def _next(flag: str, value: str) -> str:
    if not value or value.startswith("--"):
        raise ConfigError(f"{flag}: give it a value, {flag} VALUE.")
    return value


def expect(command: str, names: Sequence[str], wanted: str, count: int) -> None:
    """Refuse any other number of names.

    Raises:
        ConfigError: says what is wanted.
    """
    if len(names) != count:
        given = " ".join(names) or "nothing"
        raise ConfigError(f"unfold {command} needs {wanted}, got {given}.")
