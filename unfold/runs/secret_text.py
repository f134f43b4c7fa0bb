"""Secrets in a text: what is hidden of it, and what stays.

A text that is YAML is read as such, and its scalars are replaced where they stand, so that all of a
list or of a nested mapping is hidden. In one that is not, everything after the key is hidden.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

REDACTED = "<redacted>"

_SECRET = re.compile(r"[\w-]*(?:token|key|secret|password)[\w-]*", re.IGNORECASE)
_ENDS = re.compile(r"(token|key|secret|password)$", re.IGNORECASE)
_PLACE = re.compile(r"\$\{oc\.env:\w+\}")
_SAID = re.compile(rf"""(?<![\w-]){_SECRET.pattern}['"]?\s*[:=]+\s*""", re.IGNORECASE)
_NEXT = re.compile(r"[\w./@+-]+\s*[:=]")

FILLER = "\ue000"
"""Stands in the place of a reference while its text is read as YAML, where `{` begins a mapping."""


def is_secret(path: str, value: Any) -> bool:
    """Whether a value is one to hide, by the names in its path.

    Numbers are hidden where a name ends so: `num_tokens: 8` is none, `password: 12345` is one.
    """
    names = [name for name in re.split(r"[^\w-]+", path) if _SECRET.fullmatch(name)]
    if value is None or isinstance(value, bool) or value in ("", REDACTED):
        return False
    if isinstance(value, str) and _PLACE.fullmatch(value):
        return False
    if isinstance(value, int | float):
        return any(map(_ENDS.search, names))
    return bool(names)


def is_secret_text(path: str, value: str) -> bool:
    """The same for a value as it is typed: one in quotes is no number."""
    if value in ("null", "~", "true", "false", "''", '""') or _PLACE.fullmatch(value.strip("'\"")):
        return False
    try:
        return is_secret(path, float(value))
    except ValueError:
        return is_secret(path, value)


def without_secrets(text: str) -> str:
    """The text with every secret replaced; one without any stays as it is."""
    found: dict[tuple[int, int], bool] = {}
    try:
        root = yaml.compose(_PLACE.sub(_filled, text), yaml.SafeLoader)
        for span in _scalars(root, "", text) if isinstance(root, yaml.CollectionNode) else ():
            at = span.start, span.end
            found[at] = span.hidden or found.get(at, False)  # an alias has another path
    except (yaml.YAMLError, RecursionError):
        return _without_said(text)
    parts, after = list[str](), 0
    for (start, end), hidden in sorted(found.items()):
        value = text[start:end]
        shown = REDACTED + value[len(value.rstrip()) :] if hidden else _without_said(value)
        parts += [_without_said(text[after:start]), shown]
        after = end
    return "".join([*parts, _without_said(text[after:])])


def _filled(place: re.Match[str]) -> str:
    return FILLER * len(place[0])


class _Span(NamedTuple):
    """Where a scalar stands in a text, and whether it is a secret."""

    start: int
    end: int
    hidden: bool


def _scalars(node: yaml.Node, path: str, text: str) -> Iterator[_Span]:
    """The scalars of a document that are not empty.

    Args:
        node: of the document.
        path: the names that lead to it.
        text: of the document.
    """
    if isinstance(node, yaml.MappingNode):
        yield from _pairs(node, path, text)
    elif isinstance(node, yaml.SequenceNode):
        for inner in node.value:
            yield from _scalars(inner, path, text)
    elif not _is_empty(node):
        start, end = node.start_mark.index, node.end_mark.index
        yield _Span(start, end, is_secret_text(path, text[start:end].rstrip()))


def _pairs(node: yaml.MappingNode, path: str, text: str) -> Iterator[_Span]:
    hides = False
    for key, value in node.value:
        # `{token: a,b}` is a secret with a comma, which YAML reads as one more key.
        hides = hides and _is_empty(value)
        yield _Span(key.start_mark.index, key.end_mark.index, hides)
        inner = f"{path} {key.value}"
        hides = hides or (isinstance(value, yaml.ScalarNode) and is_secret(inner, "any"))
        yield from _scalars(value, inner, text)


def _is_empty(node: yaml.Node) -> bool:
    return bool(node.start_mark.index == node.end_mark.index)


def _without_said(text: str) -> str:
    """A text that is not YAML, where everything after the key of a secret is hidden.

    A secret ends before the next line that begins with a name, no deeper than its own; in a
    bracket that is open it ends with the text.
    """
    shown: list[str] = []
    opened = 0
    lines = text.split("\n")
    while lines:
        line, *lines = lines
        depth = _depth(line)
        opened += sum(map(line.count, "[{")) - sum(map(line.count, "]}"))
        ends = (i for i, other in enumerate(lines) if opened <= 0 and _begins(other, depth))
        rest = next(ends, len(lines))
        kept = _kept(line, lines[:rest])
        shown.append(line if kept is None else kept + REDACTED)
        lines = lines if kept is None else lines[rest:]
    return "\n".join(shown)


def _begins(line: str, depth: int) -> bool:
    return _depth(line) <= depth and _NEXT.match(line.lstrip()) is not None


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def _kept(line: str, more: list[str]) -> str | None:
    """The line up to its first secret; None where it has none."""
    for said in _SAID.finditer(line):
        value = line[said.end() :].strip() or "".join(more).strip()
        if is_secret_text(said[0].rstrip(" :='\""), value):
            return line[: said.end()]
    return None
