"""One mistake in a configuration, and the error that lists all of them."""

from collections.abc import Sequence
from typing import NamedTuple

from unfold.errors import ConfigError

UNKNOWN = object()
"""Stands for an unknown value, for which a problem is reported already."""


class Problem(NamedTuple):
    """A key, or what was typed without one; its value as typed, None without; what is wrong."""

    key: str
    value: str | None
    text: str

    def __str__(self) -> str:
        given = "" if self.value is None else f" = {self.value}"
        return f"{self.key}{given}: {self.text}"


def shown(value: object) -> str:
    """A value as it is written in YAML, shortened."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif value is None:
        text = "null"
    elif isinstance(value, str):
        text = value if value and value == value.strip() else repr(value)
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(map(shown, value))}]"
    else:
        text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def as_problem(error: ConfigError) -> Problem:
    """A refusal as one entry of a list."""
    key, _, text = str(error).partition(": ")
    return Problem(key, None, text) if text else Problem("configuration", None, key)


def refuse(problems: Sequence[Problem]) -> None:
    """Raise one error that lists every problem; do nothing where there is none."""
    # Each once; those without a text are reported elsewhere.
    found = [problem for problem in dict.fromkeys(problems) if problem.text]
    if len(found) == 1:
        raise ConfigError(str(found[0]).removeprefix("configuration: "))
    if found:
        raise ConfigError(f"{len(found)} problems in the configuration", *map(str, found))
