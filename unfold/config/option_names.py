"""Errors of components with option names: `DnCNN.channels` is `prior.denoiser.channels`.

Components speak of classes and values; which option or key stands for a class is known here alone.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from unfold.config import options
from unfold.config.check import Checked
from unfold.config.plan import Component
from unfold.errors import ConfigError, IncompatibleError, UnfoldError

FIELD = re.compile(r"\b([A-Z]\w*)\.([a-z]\w*)\b")
"""`Class.field`, as components write it."""


@contextmanager
def option_names(checked: Checked) -> Iterator[None]:
    """Raise the errors of a configured run with option paths for the fields of its classes."""
    try:
        yield
    except UnfoldError as error:
        raise in_option_names(error, checked) from error


def in_option_names(error: UnfoldError, checked: Checked) -> UnfoldError:
    """The same error with option names; the error itself where nothing is renamed."""
    if isinstance(error, IncompatibleError):
        return ConfigError(error.named(_option_of(checked)))
    paths = {"Reconstructor": "trainable"} | _paths(list(checked.groups.values()))

    def rename(found: re.Match[str]) -> str:
        path = paths.get(found[1])
        return found[0] if path is None else f"{path}.{found[2]}"

    text = FIELD.sub(rename, str(error))
    return error if text == str(error) else type(error)(text)


def _paths(plans: Any) -> dict[str, str]:
    """Where each class of the configuration stands; the first one where it stands twice."""
    found: dict[str, str] = {}
    if isinstance(plans, Component):
        found[plans.target.__name__] = plans.path
        plans = list(plans.arguments.values())
    elif isinstance(plans, Mapping):
        plans = list(plans.values())
    if isinstance(plans, list | tuple):
        for plan in plans:
            found = {**_paths(plan), **found}
    return found


def _option_of(checked: Checked) -> Any:
    """Names a class by the options that build it, the chosen one where it is among them."""
    known: dict[str, list[str]] = {}
    folders = checked.job.folders
    for path in (path for folder in folders for path in sorted(folder.glob("*/*.yaml"))):
        node = options.read(path)
        if isinstance(node, dict) and "_target_" in node:
            known.setdefault(str(node["_target_"]), []).append(f"{path.parent.name}={path.stem}")
    chosen = {f"{group}={choice}" for group, choice in checked.job.choices.items()}

    def name(component: type) -> str:
        found = known.get(f"{component.__module__}.{component.__qualname__}", [component.__name__])
        return ", ".join(chosen.intersection(found) or found)

    return name
