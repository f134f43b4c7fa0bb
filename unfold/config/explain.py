"""What Hydra's exceptions mean, in one sentence with the nearest name."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from unfold.config import options
from unfold.config.overrides import key_of
from unfold.config.problems import Problem
from unfold.errors import listing, nearest


class Explained(NamedTuple):
    """A problem, and the override that made it (None where a file did)."""

    problem: Problem
    culprit: str | None


def explain(error: Exception, overrides: Sequence[str], folders: Sequence[Path]) -> Explained:
    """Name the key, the value, what is allowed, and the nearest name."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        return _missing_option(error, overrides, folders)
    cause = error.__cause__
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        return _unknown_key(cause, overrides, folders)
    culprit = next((o for o in overrides if key_of(o) in str(error)), None)
    culprit = culprit or next((o for o in overrides if _no_option(o, folders)), None)
    text = options.first_line(error)
    if culprit is not None and _no_option(culprit, folders):
        group, _, value = culprit.lstrip("+").partition("=")
        text = f"no such option. Allowed: {listing(options.names(group, folders))}."
        return Explained(Problem(group, value, text), culprit)
    return Explained(Problem(culprit or "configuration", None, text), culprit)


def _no_option(override: str, folders: Sequence[Path]) -> bool:
    """Whether a group is given something that is not the name of an option."""
    group, _, value = override.lstrip("+").partition("=")
    allowed = options.names(group, folders)
    return bool(allowed) and value not in allowed


def _missing_option(
    error: MissingConfigException, overrides: Sequence[str], folders: Sequence[Path]
) -> Explained:
    group, _, name = str(error.missing_cfg_file).lstrip("/").rpartition("/")
    allowed = list(error.options or options.names(group, folders))
    culprit = next((o for o in overrides if key_of(o) == group), None)
    near = nearest(name, allowed)
    sentence = f"no such option{near}{'' if near else '.'} Allowed: {listing(allowed)}."
    return Explained(Problem(group or "config", name, sentence), culprit)


def _unknown_key(
    cause: OmegaConfBaseException, overrides: Sequence[str], folders: Sequence[Path]
) -> Explained:
    full_key = str(cause.full_key or "")
    culprit = next((o for o in overrides if _names(key_of(o), full_key)), None)
    value = culprit.partition("=")[2] if culprit else None
    node = cause.parent_node
    if not isinstance(node, DictConfig):
        return Explained(Problem(full_key, value, options.first_line(cause)), culprit)
    # At the top the groups that have no key of their own (experiment) may be named as well.
    extra = options.groups(folders) if "." not in full_key else []
    known = sorted({str(key) for key in node if key not in ("_target_", "hydra")} | set(extra))
    return Explained(Problem(full_key, value, unknown(full_key, known, folders)), culprit)


def _names(key: str, full_key: str) -> bool:
    return key == full_key or key.startswith(f"{full_key}.")


def unknown(full_key: str, known: Sequence[str], folders: Sequence[Path]) -> str:
    """What to say of a key that does not exist: its owner or the nearest one, and the list."""
    group, *rest = full_key.split(".")
    near = nearest(full_key.rpartition(".")[2], known)
    belongs = options.owners(group, rest, folders) if rest else []
    if belongs and not near.startswith(f", did you mean '{rest[-1]}'"):
        near = f", '{rest[-1]}' belongs to {' and '.join(belongs[:3])}."
    return f"unknown key{near}{'' if near else '.'} Allowed: {listing(known)}."
