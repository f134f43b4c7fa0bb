"""The words of `evaluate` and `reconstruct`: a run, files, and overrides of the run's settings."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from unfold.cli.again import take_folders, words_again
from unfold.config.build import verify
from unfold.config.check import Checked
from unfold.config.compose import compose
from unfold.config.overrides import key_of
from unfold.config.problems import refuse
from unfold.errors import ConfigError
from unfold.runs.reference import Reference, read_reference
from unfold.runs.secrets import restored


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


def one_configuration(command: str, words: Sequence[str]) -> Checked:
    """The one configuration that the words of a command compose.

    Raises:
        ConfigError: any mistake in it, or a sweep.
    """
    (checked, *more) = verify(compose(words))
    if more:
        raise ConfigError(f"unfold {command} takes one configuration, got {1 + len(more)}.")
    return checked


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
