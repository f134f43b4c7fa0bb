"""From the overrides of a sweep to those of each of its jobs."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from unfold.errors import ConfigError

SEARCH = "sweep."
"""What the settings of a search itself begin with."""


class Grid(NamedTuple):
    """The overrides of each job, and how many points were named twice and are run once."""

    jobs: list[tuple[str, ...]]
    repeated: int


def is_sweep(text: str) -> bool:
    """Whether the override names several values."""
    return bool(OverridesParser.create().parse_overrides([text])[0].is_sweep_override())


def with_preset(overrides: Sequence[str], params: Mapping[str, object]) -> list[str]:
    """The overrides of the command line, after those of the `sweep` group that they do not name.

    Settings of the search itself, `sweep.trials` and the like, are no overrides.
    """
    parser = OverridesParser.create()
    named = {o.key_or_group for o in parser.parse_overrides(list(overrides))}
    keys = [key for key in params if key not in named and not key.startswith(SEARCH)]
    preset = [f"{key}={params[key]}" for key in keys]
    return [*preset, *overrides]


def expand(overrides: Sequence[str]) -> Grid:
    """Every combination of the values named.

    Raises:
        ConfigError: a sweep without a value, or over a continuous interval.
    """
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    choices = [_values(override) for override in parser.parse_overrides(list(overrides))]
    points = list(itertools.product(*choices))
    distinct = list(dict.fromkeys(points))
    return Grid(distinct, len(points) - len(distinct))


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    key = override.get_key_element()
    if not override.is_discrete_sweep():
        raise ConfigError(
            f"{override.input_line}: a grid needs a list of values, got an interval. "
            f"Write {key}=choice(...) or {key}=range(...)."
        )
    values = [f"{key}={value}" for value in override.sweep_string_iterator()]
    if not values:
        raise ConfigError(f"{override.input_line}: an empty sweep, no job to run. Name one value.")
    return values
