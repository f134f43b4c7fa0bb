"""From the overrides of a sweep to those of each of its jobs: a grid, or the space of a search."""

import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
)

from unfold.config import options
from unfold.config.errors import Problem
from unfold.config.overrides import parse_override
from unfold.errors import ConfigError

SEARCH = "sweep."
"""What the settings of a search itself begin with."""


RANGES = f"{SEARCH}ranges"
"""The group by whose option ranges are chosen."""


def ranges_of(
    option: str | None, folders: Sequence[Path], value: Callable[[str], Any]
) -> tuple[dict[str, Any], list[Problem]]:
    """What a search tries of an option, of the keys that the configuration has a value of.

    Also what is wrong: no such file, or a key that no option has.
    """
    name = f"sweep/ranges/{option}.yaml"
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None:
        text = f"has no {name}. Add it to a folder of --config-dir, or sweep.ranges=none."
        return {}, [Problem(RANGES, str(option), text)]
    found = dict(options.read(path) or {})
    kept = {k: v for k, v in found.items() if value(k) is not None}
    parts = {k: k.split(".") for k in found if k not in kept}
    wrong = [k for k, (a, *rest) in parts.items() if not options.owners(a, rest, folders)]
    return kept, [Problem(k, str(found[k]), f"{path} has a key of no option.") for k in wrong]


def is_sweep(text: str) -> bool:
    """Whether the override names several values."""
    return bool(parse_override(text).is_sweep_override())


def with_preset(overrides: Sequence[str], params: Mapping[str, object]) -> list[str]:
    """The overrides of the command line, after those of the `sweep` group that they do not name.

    `~KEY` takes one of the group away. Settings of the search itself, `sweep.trials` and the like,
    are no overrides.
    """
    read = [(text, parse_override(text)) for text in overrides]
    named = {one.key_or_group for _, one in read}
    keys = [key for key in params if key not in named and not key.startswith(SEARCH)]
    preset = [f"{key}={params[key]}" for key in keys]
    kept = [text for text, one in read if not (one.is_delete() and one.key_or_group in params)]
    return [*preset, *kept]


def expand(overrides: Sequence[str]) -> tuple[list[tuple[str, ...]], int]:
    """The overrides of each job, and how many points were named twice and are run once."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    parsed = parser.parse_overrides(list(overrides))
    if (count := math.prod(map(_count, parsed))) > MOST_JOBS:
        raise ConfigError(f"the sweep has {count:g} jobs: at most {MOST_JOBS} run at once.")
    choices = [_values(override) for override in parsed]
    points = list(itertools.product(*choices))
    distinct = list(dict.fromkeys(points))
    return distinct, len(points) - len(distinct)


MOST_JOBS = 10_000
"""Jobs of one grid, all of which are composed before the first starts."""


def _count(override: Override) -> float:
    """How many values a range names; of a list, which is typed in full, no more than that."""
    value = override.value()
    if isinstance(value, RangeSweep) and value.step and value.stop is not None:
        return max(1.0, (value.stop - (value.start or 0)) / value.step)
    return float(len(value.list)) if isinstance(value, ChoiceSweep) else 1.0


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


METHODS = ("optuna", "random")
"""The options of `sweep` that draw their trials instead of combining all values."""


def search_method(arguments: Sequence[str]) -> str | None:
    """The search that is asked for; None where none is."""
    if not {"-m", "--multirun"} & set(arguments):
        return None
    return next((name for name in METHODS if f"sweep={name}" in arguments), None)


@dataclass(frozen=True)
class Choice:
    """One of some values, as they are written."""

    values: tuple[str, ...]

    def draw(self, generator: random.Random) -> str:
        return generator.choice(self.values)


@dataclass(frozen=True)
class Interval:
    """A number in [low, high]; uniform, or with `log` its logarithm: `tag(log, interval(...))`.

    A whole one is of `int(interval(...))`, or a range of integers with a step.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    step: int = 1

    def draw(self, generator: random.Random) -> str:
        if self.whole:
            return str(generator.randrange(int(self.low), int(self.high) + 1, self.step))
        if self.log:
            return repr(math.exp(generator.uniform(math.log(self.low), math.log(self.high))))
        return repr(generator.uniform(self.low, self.high))


Domain = Choice | Interval


@dataclass(frozen=True)
class Space:
    """What is searched: the overrides that every trial has, and the domains of the others."""

    fixed: tuple[str, ...]
    domains: dict[str, Domain]

    def overrides(self, values: dict[str, Any]) -> list[str]:
        return [*self.fixed, *(f"{key}={value}" for key, value in values.items())]


def space_of(overrides: Sequence[str]) -> Space:
    """Separate what is fixed from what is searched."""
    fixed: list[str] = []
    domains: dict[str, Domain] = {}
    for override in map(parse_override, overrides):
        if override.is_sweep_override():
            domains[str(override.get_key_element())] = _domain(override)
        else:
            fixed.append(str(override.input_line))
    if not domains:
        raise ConfigError(
            "A search needs a range: write 'optimizer.lr=interval(1e-4,1e-2)'. No key is free; "
            "leave out what fixes, or takes away, those of its preset."
        )
    return Space(tuple(fixed), domains)


def _domain(override: Override) -> Domain:
    value = override.value()
    line = str(override.input_line)
    if isinstance(value, IntervalSweep):
        return _interval(value, line)
    if isinstance(value, RangeSweep) and (found := _integers(value)):
        return found
    if not isinstance(value, ChoiceSweep | RangeSweep | QuotedString):
        raise ConfigError(f"{line}: a search takes interval(...), range(...), choice(...) or a,b.")
    values = tuple(override.sweep_string_iterator())
    if not values:
        raise ConfigError(f"{line}: no value to choose from. Name one.")
    return Choice(values)


def _integers(value: RangeSweep) -> Interval | None:
    """A rising range of integers: numbers with an order, which a choice has not."""
    start, stop, step = value.start, value.stop, value.step
    if not (isinstance(start, int) and isinstance(stop, int) and isinstance(step, int)):
        return None
    numbers = range(start, stop, step)
    if step < 1 or not numbers:
        return None
    return Interval(float(numbers[0]), float(numbers[-1]), whole=True, step=step)


def _interval(value: IntervalSweep, line: str) -> Interval:
    low, high = value.start, value.end
    assert low is not None and high is not None
    log = "log" in value.tags
    whole = isinstance(low, int) and isinstance(high, int)
    if not low < high or (log and low <= 0) or not math.isfinite(high - low):
        raise ConfigError(
            f"{line}: must rise from its first to its second number, and be positive with a log."
        )
    return Interval(float(low), float(high), log, whole and not log)


def drawn(space: Space, seed: int, trial: int) -> dict[str, str]:
    """The values of a random trial: a function of the seed and its number alone."""
    generator = random.Random(f"{seed}/{trial}")
    return {key: domain.draw(generator) for key, domain in space.domains.items()}
