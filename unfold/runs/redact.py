"""What a run must not write down: values whose key names a secret.

`${oc.env:NAME}` is stored as it is typed: whoever repeats the run has the variable. A value that
is typed on the command line is not stored and must be given again.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

REDACTED = "<redacted>"

_NAMES = r"(?i:token|secret|password|api[_-]?key)"
_ENVIRONMENT = r"\$\{oc\.env:\w+\}"

_SECRET = re.compile(rf"(?:^|[^A-Za-z0-9]|(?<=[a-z0-9])(?=[A-Z])){_NAMES}$")
_KEPT = re.compile(rf"|null|~|true|false|''|\"\"|(['\"]?){_ENVIRONMENT}\1")
_INSIDE = re.compile(rf"{_NAMES}['\"]?\s*:(?!\s*{_ENVIRONMENT}[\s,}}\]])")


def is_secret(key: str) -> bool:
    """Whether the last word of a key is `token`, `secret`, `password` or `api_key`."""
    return _SECRET.search(key) is not None


def redacted(value: Any, key: str = "") -> Any:
    """A configuration in which the value of every secret key is replaced."""
    if is_secret(key):
        kept = value is None or isinstance(value, bool) or _KEPT.fullmatch(str(value))
        return value if kept else REDACTED
    if isinstance(value, Mapping):
        return {str(k): redacted(inner, str(k)) for k, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(inner) for inner in value]
    return value


def redacted_override(text: str) -> str:
    """An override without its value where its key, or one inside a block, is secret."""
    key, _, value = text.partition("=")
    hides = is_secret(key) and not _KEPT.fullmatch(value)
    return f"{key}={REDACTED}" if hides or _INSIDE.search(value) else text


def redacted_overrides(arguments: Sequence[str]) -> list[str]:
    """All arguments of a command, redacted."""
    return [redacted_override(text) for text in arguments]


def restored(stored: Any, composed: Any) -> Any:
    """A stored configuration with its secrets and variables, read from one composed again."""
    if isinstance(stored, Mapping):
        inner = composed if isinstance(composed, Mapping) else {}
        return {key: restored(value, inner.get(key, value)) for key, value in stored.items()}
    if isinstance(stored, list) and isinstance(composed, list) and len(stored) == len(composed):
        return [restored(one, other) for one, other in zip(stored, composed, strict=True)]
    missing = isinstance(stored, str) and (stored == REDACTED or "${oc.env:" in stored)
    return composed if missing else stored
