"""What a run must not write down: passwords and keys of services.

A run stores the place of a secret, never its value. `${oc.env:NAME}` in a word or in a file is such
a place: whoever repeats the run has the variable. A value typed on the command line has none, so
it is asked for again.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

REDACTED = "<redacted>"

_NAME = r"[\w-]*(?:token|key|secret|password)[\w-]*"
_SECRET = re.compile(_NAME, re.IGNORECASE)
_ENDS = re.compile(r"(token|key|secret|password)$", re.IGNORECASE)
_FROM_ENVIRONMENT = re.compile(r"""['"]?\$\{oc\.env:\w+\}['"]?""")
_INNER = re.compile(
    rf"""(?P<key>['"]?\b{_NAME}['"]?\s*[:=]\s*)"""
    r"""(?P<value>\$\{[^}]*\}|"[^"]*"|'[^']*'|[^,}\]]+)""",
    re.IGNORECASE,
)


def is_secret(key: str, value: Any) -> bool:
    """Whether a value is one to hide, by the last part of its key.

    Numbers are hidden where the name ends so: `num_tokens: 8` is none, `password: 12345` is one.
    """
    name = re.split(r"[./]", key)[-1]
    if isinstance(value, str):
        return bool(value) and _SECRET.fullmatch(name) is not None
    return type(value) in (int, float) and _ENDS.search(name) is not None


def redacted(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with every secret replaced."""
    return {str(key): _hidden(value, str(key)) for key, value in config.items()}


def _hidden(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _hidden(inner, str(k)) for k, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(inner, key) for inner in value]
    return REDACTED if is_secret(key, value) else value


def redacted_word(word: str) -> str:
    """A word of the command line with every secret replaced; `${oc.env:NAME}` stays."""
    key, equals, value = word.partition("=")
    if equals and _is_hidden_word(key, value):
        return f"{key}={REDACTED}"
    return f"{key}{equals}{_INNER.sub(_without_value, value)}"


def _is_hidden_word(key: str, value: str) -> bool:
    if value in ("", "null", "true", "false") or _FROM_ENVIRONMENT.fullmatch(value):
        return False
    return is_secret(key.lstrip("+~"), float(value) if _is_number(value) else value)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", text, re.IGNORECASE) is not None


def _without_value(found: re.Match[str]) -> str:
    value = found["value"].strip()
    key = found["key"].strip(" :='\"")
    return found["key"] + REDACTED if _is_hidden_word(key, value) else found[0]


def redacted_text(text: str) -> str:
    """What is shown of a configuration, with every secret replaced.

    Args:
        text: of YAML, or lines of `key: value` and `key = value` among others.
    """
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError:
        config = None
    if isinstance(config, Mapping):
        kept = redacted(config)
        return text if kept == config else yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
    return "\n".join(_INNER.sub(_without_value, line) for line in text.split("\n"))


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
