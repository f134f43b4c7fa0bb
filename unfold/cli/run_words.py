"""The words of the commands about runs: names, flags with a value, and the folder of all runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from unfold.errors import ConfigError, listing, nearest
from unfold.runs.secrets import redacted_word


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
                shown = redacted_word(word)
                raise ConfigError(f"{shown}: unfold {command} takes only runs_dir=DIR.")


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
        given = " ".join(map(redacted_word, names)) or "nothing"
        raise ConfigError(f"unfold {command} needs {wanted}, got {given}.")
