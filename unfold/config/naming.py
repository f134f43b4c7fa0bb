"""Option names in errors of components, which speak of classes and fields.

`PGD.stepsize = -1` becomes `algo.stepsize = -1`, `Trainable.learn` becomes `trainable.learn`,
and a class that does not fit becomes the option that builds it, `fidelity=l2`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unfold.config import options
from unfold.config.plan import walk
from unfold.errors import ConfigError, IncompatibleError, UnfoldError

if TYPE_CHECKING:
    from unfold.config.check import Checked


REMEDIES = (
    (
        r"crop the images to multiples of (\d+)",
        r"set data.multiple_of=\1 and a data.crop that it divides",
    ),
    (r"take a smaller kernel, or larger images", "lower physics.kernel.size, or raise data.crop"),
    (r"(\d+) weights; give", r"\1 weights; set data.channels=\1, or give"),
    (r"three channels are needed", "set data.channels=3"),
    (r"use an unfolded model", "use model=unfolded"),
    (r"start from Regularised", "take start=regularised"),
)
"""Remedies that no field of the failing component names, with the keys that do."""


@contextmanager
def option_names(checked: "Checked") -> Iterator[None]:
    """Errors of the body name options instead of classes and their fields."""
    try:
        yield
    except IncompatibleError as error:
        text = with_options(error, checked.job.choices, checked.job.folders)
        raise ConfigError(with_paths(text, checked.groups)) from error
    except UnfoldError as error:
        raise type(error)(*(with_paths(t, checked.groups) for t in error.lines)) from error


def with_paths(text: str, groups: Mapping[str, Any]) -> str:
    """The text with `Class.field` as the path of the option; a class used twice keeps its name."""
    trainable = ("Trainable", "TrainingOptions")
    paths: dict[str, set[str]] = {name: {"trainable"} for name in trainable}
    for component in walk(groups):
        paths.setdefault(component.target.__name__, set()).add(component.path)
    for name, found in paths.items():
        if len(found) == 1:
            text = re.sub(rf"\b{name}\.(?=[a-z])", f"{next(iter(found))}.", text)
    for pattern, keys in REMEDIES:
        text = re.sub(pattern, keys, text)
    return text


def with_options(
    error: IncompatibleError, choices: Mapping[str, str], folders: Sequence[Path]
) -> str:
    """The text with options for the classes of the error; one that none builds keeps its name."""
    known: dict[str, list[str]] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*/*.yaml"))):
        node = options.read(path)
        if isinstance(node, dict) and "_target_" in node:
            known.setdefault(str(node["_target_"]), []).append(f"{path.parent.name}={path.stem}")
    chosen = {f"{group}={choice}" for group, choice in choices.items()}

    def name(kind: type) -> str:
        found = known.get(f"{kind.__module__}.{kind.__qualname__}", [kind.__name__])
        return ", ".join(chosen.intersection(found) or found)

    return error.named(name)
