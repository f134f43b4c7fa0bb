"""What a run must not write down: passwords and keys of services.

A run stores the place of a secret, never its value. `${oc.env:NAME}` in a word or in a file is such
a place: whoever repeats the run has the variable. A value typed on the command line has none, so
it is asked for again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from unfold.runs.secret_text import REDACTED, is_secret, is_secret_text, without_secrets


def redacted(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with every secret replaced."""
    return {str(key): _hidden(value, str(key)) for key, value in config.items()}


def _hidden(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _hidden(inner, f"{path}.{k}") for k, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(inner, path) for inner in value]
    return REDACTED if is_secret(path, value) else value


def redacted_word(word: str) -> str:
    """A word of the command line with every secret replaced; `${oc.env:NAME}` stays."""
    key, equals, value = word.partition("=")
    if equals and is_secret_text(key, value):
        return f"{key}={REDACTED}"
    return f"{key}={without_secrets(value)}" if equals else without_secrets(word)


def redacted_message(text: str, words: Sequence[str]) -> str:
    """What another library says of words, with the secrets among them replaced.

    Args:
        text: may repeat a word, or its value, or a part of it.
        words: of the command line.
    """
    secret = [word.lstrip("+~") for word in words if redacted_word(word) != word]
    for word in secret:
        text = text.replace(word, redacted_word(word))
        text = text.replace(word.partition("=")[2] or word, REDACTED)
    return without_secrets(text) if secret else text


def redacted_words(words: Sequence[str]) -> list[str]:
    """The words of a command line with every secret replaced."""
    return [redacted_word(word) for word in words]


def restored(stored: Any, composed: Any) -> Any:
    """A stored configuration with its secrets read again, from the same one composed anew."""
    if isinstance(stored, Mapping):
        inner = composed if isinstance(composed, Mapping) else {}
        return {key: restored(value, inner.get(key, value)) for key, value in stored.items()}
    if isinstance(stored, list) and isinstance(composed, list) and len(stored) == len(composed):
        return [restored(one, other) for one, other in zip(stored, composed, strict=True)]
    return composed if stored == REDACTED else stored
