"""What cannot be read, in the words of a user: brackets, quotes, references, the environment."""

import re

CLOSES = {"[": "]", "{": "}", "(": ")"}
QUOTES = ("'", '"')

Open = tuple[str, int]
"""A bracket or a quote, and its column, from 1."""


def why_unreadable(word: str) -> str:
    """What keeps a word of the command line from being read as key=value, and where."""
    open_ones: list[Open] = []
    escaped = False
    for column, sign in enumerate(word, 1):
        quoted = bool(open_ones) and open_ones[-1][0] in QUOTES
        if quoted and sign == open_ones[-1][0] and not escaped:
            open_ones.pop()
        elif not quoted and sign in CLOSES.values():
            if not open_ones or CLOSES[open_ones.pop()[0]] != sign:
                return f"the {sign} at column {column} closes nothing"
        elif not quoted and not escaped and (sign in CLOSES or sign in QUOTES):
            open_ones.append((sign, column))
        escaped = sign == "\\" and not escaped
    if open_ones:
        sign, column = open_ones[-1]
        return f"the {sign} at column {column} is not closed"
    return _other_sign(word)


def _other_sign(word: str) -> str:
    if "=" not in word:
        return "it has no ="
    second = word.find("=", word.find("=") + 1)
    if second > 0:
        return f"there is another = at column {second + 1}"
    odd = re.search(r"[^\w.,:@/+~=\[\]{}()'\"$?*|%\\-]", word)
    return f"column {odd.start() + 1} has {odd[0]!r}" if odd else "it is not of that form"


def why_unresolved(text: str) -> str:
    """Why a reference such as ${oc.env:NAME} has no value, and what to do.

    Args:
        text: of OmegaConf's error.
    """
    variable = re.search(r"Environment variable '(.*?)' not found", text)
    if variable:
        name = variable[1]
        return (
            f"the environment variable {name} is not set. Set it, or write "
            f"${{oc.env:{name},VALUE}} for a value in its place."
        )
    key = re.search(r"Interpolation key '(.*?)' not found", text)
    if key:
        return (
            f"cannot be resolved: the configuration has no key {key[1]}. Name one in full, from "
            "the top, as ${trainer.max_steps}."
        )
    reason = text.splitlines()[0] if text else "it has no value"
    return f"cannot be resolved: {reason.removesuffix('.')}."
