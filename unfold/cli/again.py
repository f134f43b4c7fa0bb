"""The words with which the configuration of a run is composed again."""

from collections.abc import Sequence
from pathlib import Path

from unfold.cli.report import short
from unfold.config.overrides import key_of, parse_arguments
from unfold.errors import ConfigError, UnfoldError
from unfold.runs.reference import Reference
from unfold.runs.secret_text import REDACTED
from unfold.runs.weights import find_weights, names_weights

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
