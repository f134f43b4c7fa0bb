"""The exceptions of Hydra and OmegaConf in one sentence, with the nearest name."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hydra.errors import MissingConfigException

from unfold.config import options
from unfold.config.errors import Problem
from unfold.config.overrides import key_of
from unfold.errors import listing, nearest


class Explained(NamedTuple):
    """A problem, and the override that made it (None where a file did)."""

    problem: Problem
    culprit: str | None


def explain(error: Exception, overrides: Sequence[str], folders: Sequence[Path]) -> Explained:
    """Name the key, the value, what is allowed, and the nearest name.

    Args:
        error: what Hydra raised.
        overrides: that were composed.
        folders: of the options.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        group, _, name = str(error.missing_cfg_file).lstrip("/").rpartition("/")
        culprit = next((o for o in overrides if key_of(o) == group), None)
        allowed = error.options or options.names(group, folders)
        return Explained(_no_option(group or "configuration", name, allowed), culprit)
    for override in overrides:
        key, value = key_of(override), override.partition("=")[2]
        allowed = options.names(key, folders)
        if allowed and value not in allowed and not override.startswith("~"):
            return Explained(_no_option(key, value, allowed), override)
    text = options.first_line(error.__cause__ or error)
    culprit = next((o for o in overrides if key_of(o) in f"{error}{error.__cause__}"), None)
    return Explained(Problem(culprit or "configuration", None, text), culprit)


def _no_option(group: str, name: str, allowed: Sequence[str]) -> Problem:
    near = nearest(name, allowed)
    return Problem(group, name, f"no such option{near} Allowed: {listing(allowed)}.")


def unknown(full_key: str, known: Sequence[str], folders: Sequence[Path]) -> str:
    """What to say of a key that does not exist: its owner or the nearest one, and the list."""
    group, *rest = full_key.split(".")
    near = nearest(full_key.rpartition(".")[2], known)
    belongs = options.owners(group, rest, folders) if rest else []
    if belongs and not near.startswith(f", did you mean '{rest[-1]}'"):
        near = f", '{rest[-1]}' belongs to {' and '.join(belongs[:3])}."
    return f"unknown key{near} Allowed: {listing(known)}."


def why_unresolved(text: str) -> str:
    """Why a reference such as ${oc.env:NAME} has no value, and what to do.

    Args:
        text: of OmegaConf's error.
    """
    if variable := re.search(r"Environment variable '(.*?)' not found", text):
        name = variable[1]
        return (
            f"the environment variable {name} is not set. Set it, or write "
            f"${{oc.env:{name},VALUE}} for a default."
        )
    if key := re.search(r"Interpolation key '(.*?)' not found", text):
        return (
            f"cannot be resolved: the configuration has no key {key[1]}. Name one in full, from "
            "the top, as ${trainer.max_steps}."
        )
    reason = text.splitlines()[0] if text else "it has no value"
    return f"cannot be resolved: {reason.removesuffix('.')}."
