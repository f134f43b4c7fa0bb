"""The docstring of a component: its first paragraphs, and a sentence for each argument."""

import inspect
import re
from collections.abc import Mapping
from typing import NamedTuple

SECTION = re.compile(r"^(Args|Returns|Raises|Source|Warns|Yields)\b.*:", re.MULTILINE)
ENTRY = re.compile(r"^    (\w+): (.*)$")


class Described(NamedTuple):
    """A docstring, read.

    headline: its first paragraph, on one line.
    formula: its second paragraph, on one line: the update of an algorithm.
    arguments: by name, in the order of the docstring; inherited ones first.
    source: the paper; empty where none is named.
    """

    headline: str
    formula: str
    arguments: Mapping[str, str]
    source: str


def describe(kind: type) -> Described:
    """Read the docstring of a class."""
    text = inspect.getdoc(kind) or ""
    paragraphs = [" ".join(p.split()) for p in SECTION.split(text)[0].split("\n\n")]
    headline, formula = (*paragraphs, "")[:2]
    above = (inspect.cleandoc(base.__doc__ or "") for base in reversed(kind.__mro__[1:]))
    inherited = {name: entry for doc in above for name, entry in _arguments(doc).items()}
    return Described(headline, formula, inherited | _arguments(text), _source(text))


def _arguments(text: str) -> dict[str, str]:
    _, found, rest = text.partition("Args:\n")
    entries: dict[str, str] = {}
    name = ""
    for line in rest.splitlines() if found else ():
        match = ENTRY.match(line)
        if match:
            name = match[1]
            entries[name] = match[2].strip()
        elif name and line.startswith("     "):
            entries[name] += f" {line.strip()}"
        elif line and not line.startswith(" "):
            break
    return entries


def _source(text: str) -> str:
    _, _, rest = text.partition("Source:")
    return " ".join(rest.split("\n\n")[0].split()).rstrip(".")


def first_line(function: object) -> str:
    """The first line of a method's docstring; of its base's where it has none."""
    return (inspect.getdoc(function) or "").partition("\n")[0]
