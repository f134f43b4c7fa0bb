"""Secrets among the words of a process: every user of a machine sees what it was started with.

A process that unfold starts gets such words with `<redacted>` in the place of the secret, and a
variable with the name of a file that only its user can read, where the whole words are.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from unfold.runs.secrets import redacted_word

VARIABLE = "UNFOLD_HIDDEN_WORDS"
"""Where a process finds the words that it was not started with."""

FILE = "words.json"


class Shown(NamedTuple):
    """What a process is started with.

    words: without secrets.
    variables: of its environment; none where there is no secret.
    """

    words: list[str]
    variables: dict[str, str]


def hidden(words: Sequence[str], folder: Path) -> Shown:
    """Put words with secrets into a file of the user's own.

    Args:
        words: of a command line.
        folder: for the file, which lasts as long as the process.
    """
    shown = [redacted_word(word) for word in words]
    kept = {shown_as: word for shown_as, word in zip(shown, words, strict=True) if shown_as != word}
    if not kept:
        return Shown(shown, {})
    path = folder / FILE
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(kept, file)
    return Shown(shown, {VARIABLE: str(path)})


def revealed(words: Sequence[str]) -> list[str]:
    """The words that a process was meant to be started with; the variable is forgotten."""
    path = os.environ.pop(VARIABLE, None)
    if path is None:
        return list(words)
    kept: dict[str, str] = json.loads(Path(path).read_text(encoding="utf-8"))
    return [kept.get(word, word) for word in words]
