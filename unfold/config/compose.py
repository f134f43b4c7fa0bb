"""From the arguments of a command to jobs: plain data, with every mistake listed at once.

Hydra's documented compose API is used instead of `hydra.main`, whose job handling makes folders
before anything is checked and whose callbacks a configuration file can name.
"""

import itertools
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers.oc import env

from unfold.config import options
from unfold.config.arguments import TRAIN, Arguments
from unfold.config.errors import UNKNOWN, Problem, refuse, shown
from unfold.config.options import configs_folder
from unfold.config.overrides import (
    explain,
    key_of,
    parse_override,
    separate,
    trusted,
    why_unresolved,
)
from unfold.config.sweep import RANGES, SEARCH, expand, is_sweep, ranges_of, with_preset
from unfold.config.targets import resolve
from unfold.config.values import SPECIAL, parameters
from unfold.errors import ConfigError
from unfold.runs.catalogue import flat

PATHS = (
    *("extend", "init_from", "kernel", "matrix", "name", "path", "root", "runs_dir"),
    *("test_root", "validation_root", "weights"),
)
"""Keys whose value becomes a path; a run must know it from what is stored."""

NOT_STORED = re.compile(r"\bhydra\W(?!runtime\.choices)|\$\{[\s\w.\[]*\$\{")
"""References to Hydra's own settings, where an environment variable may be, or a place on this
machine; or to a key that another reference names."""

PER_JOB = ("job.override_dirname", "overrides", "runtime", "searchpath", "sweeper.params")
"""Hydra's own settings that no file states, and what a sweep tries."""

MOST = 10_000
"""Values, and characters of one, to which references may lead."""


@dataclass(frozen=True)
class Job:
    """One composed configuration, as plain dictionaries, lists and scalars.

    `config` is resolved; `stored` keeps references to environment variables as they are typed.
    `folders` are those of options, the packaged one first.
    """

    config: Mapping[str, Any]
    stored: Mapping[str, Any]
    choices: Mapping[str, str]
    overrides: tuple[str, ...]
    trust: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Composed:
    """The jobs of one command, and the mistakes found while composing them.

    extends: whether `extend` was compared with the run that it names.
    """

    jobs: tuple[Job, ...]
    problems: tuple[Problem, ...]
    repeated: int = 0
    extends: bool = False


class Preset(NamedTuple):
    """The overrides with those of an option of `sweep`, and the settings of the search itself.

    keys: what the option sweeps over.
    """

    overrides: list[str]
    search: dict[str, Any]
    problems: list[Problem]
    keys: set[str]


@contextmanager
def _hydra() -> Iterator[None]:
    """Hydra, initialised on the packaged configuration files."""
    GlobalHydra.instance().clear()
    major, minor = (int(part) for part in hydra.__version__.split(".")[:2])
    # From Hydra 1.4 on `version_base` has one meaning left and is better not given.
    base = {"version_base": "1.3"} if (major, minor) < (1, 4) else {}
    with hydra.initialize_config_dir(str(configs_folder()), job_name="train", **base):
        yield


def compose(arguments: Sequence[str]) -> Composed:
    """Compose every job that the arguments of a command ask for.

    Raises:
        ConfigError: an unknown flag, or an empty sweep.
    """
    given, found = _parsed(TRAIN.parse(arguments))
    problems = found
    jobs: list[Job] = []
    with _hydra():
        grid, repeated = [given.overrides], 0
        if given.multirun:
            grid, repeated = expand(_preset(given).overrides)
        for overrides in grid:
            job, mistakes = compose_one(overrides, given)
            problems += mistakes
            jobs += [job] if job else []
    return Composed(tuple(jobs), tuple(dict.fromkeys(problems)), repeated)


def preset_of_sweep(arguments: Sequence[str], ranges: str | None = None) -> Preset:
    """What is searched, and how, where a `sweep` option is chosen.

    `ranges` replaces the group that the option takes its ranges from.

    Raises:
        ConfigError: lists the mistakes in the arguments.
    """
    given, problems = _parsed(replace(TRAIN.parse(arguments), multirun=True))
    with _hydra():
        preset = _preset(given, ranges)
    refuse([*problems, *preset.problems])
    return preset


def _parsed(given: Arguments) -> tuple[Arguments, list[Problem]]:
    """The arguments with the overrides that can be composed, and what is wrong with the others."""
    refuse(list(options.faults(given.config_dirs, configs_folder())))
    folders = (configs_folder(), *given.config_dirs)
    sound, problems = separate(given.overrides, multirun=given.multirun, folders=folders)
    return replace(given, overrides=sound), problems


def _preset(given: Arguments, ranges: str | None = None) -> Preset:
    fixed = [text for text in given.overrides if not (is_sweep(text) or text.startswith("~"))]
    config, _, problems = _compose_sound(fixed, given)
    found: Any = {} if config is None else OmegaConf.to_container(config.hydra.sweeper)
    params = dict(found.get("params") or {})
    group = params.pop(RANGES, None)
    if config is not None and (group := ranges or group) and group != "none":
        chosen, folders = (
            config.hydra.runtime.choices.get(group),
            (*given.config_dirs, configs_folder()),
        )
        found, wrong = ranges_of(chosen, folders, partial(OmegaConf.select, config))
        params, problems = params | found, [*problems, *wrong]
    search = {key: value for key, value in params.items() if key.startswith(SEARCH)}
    return Preset(with_preset(given.overrides, params), search, problems, params.keys() - search)


def compose_one(overrides: Sequence[str], given: Arguments) -> tuple[Job | None, list[Problem]]:
    """One job and its mistakes; no job where nothing can be composed at all."""
    config, sound, problems = _compose_sound(overrides, given)
    if config is None:
        return None, problems
    problems += _steering(config, sound, given)
    choices = {str(k): str(v) for k, v in config.hydra.runtime.choices.items() if "hydra/" not in k}
    config = OmegaConf.create(
        {
            **{key: node for key, node in config.items_ex(resolve=False) if key != "hydra"},
            "hydra": {"runtime": {"choices": config.hydra.runtime.choices}},
        }
    )
    _leave_out(config, sound)
    plain = _plain(config, problems)
    stored = _stored(config, plain, problems)
    folders = (configs_folder(), *given.config_dirs)
    return Job(plain, stored, choices, tuple(sound), trusted(sound), folders), problems


def _compose_sound(
    overrides: Sequence[str], given: Arguments
) -> tuple[DictConfig | None, list[str], list[Problem]]:
    """The configuration, None where there is none; what made it; what is wrong with the rest."""
    sound, problems = list(overrides), list[Problem]()
    folders = (configs_folder(), *given.config_dirs)
    while True:
        try:
            return _compose(sound, given.config_dirs), sound, problems
        except Exception as error:
            if os.environ.get("UNFOLD_DEBUG") == "1":
                raise
            problem, culprit = explain(error, sound, folders)
            problems.append(problem)
            if culprit is None:
                return None, sound, problems
            sound.remove(culprit)


def _compose(overrides: Sequence[str], own: Sequence[Path]) -> DictConfig:
    added = [_added(text, (configs_folder(), *own)) for text in overrides]
    paths = ",".join(f'"file://{folder}"' for folder in own)
    search = [f"hydra.searchpath=[{paths}]"] if paths else []
    return hydra.compose("train", [*added, *search], return_hydra_config=True)


def _added(text: str, folders: Sequence[Path]) -> str:
    """An override that Hydra accepts though no file has its key: `check` knows what exists.

    A file may leave out an argument that its class has, and mappings such as
    `trainable.constrain` take any name.
    """
    bare, key = text.lstrip("+"), key_of(text)
    placed = "@" in bare.partition("=")[0]  # with `+` it is one more option
    if text.startswith("~") or placed or key.startswith("hydra"):
        return text
    return bare if options.names(key, folders) else f"++{bare}"


def _steering(config: DictConfig, overrides: Sequence[str], given: Arguments) -> Iterator[Problem]:
    """Settings of Hydra's own that a file of the user states, apart from what a sweep tries."""
    if not given.config_dirs:
        return
    typed = [text for text in overrides if key_of(text).startswith("hydra")]
    packaged, stated = (
        flat(OmegaConf.to_container(one.hydra, resolve=False))
        for one in (_compose(typed, ()), config)
    )
    for key, value in stated.items():
        if packaged.get(key) != value and not key.startswith(PER_JOB):
            text = "only the packaged configuration states settings of Hydra's own. Remove it."
            yield Problem(f"hydra.{key}", shown(value), text)


def _leave_out(config: DictConfig, overrides: Sequence[str]) -> None:
    """What a file gives to one class goes where an override names another, which has no use for it.

    Arguments that are typed stay, for `check` to accept or refuse.
    """
    if not any("_target_" in one for one in overrides):
        return  # reading them takes a millisecond each
    typed = {k for one in overrides for k in flat({key_of(one): parse_override(one).value()})}
    for target in (key for key in typed if key.endswith("._target_")):
        block = target.removesuffix("._target_")
        node = OmegaConf.select(config, block)
        # What cannot be named is reported by `check`.
        with suppress(ConfigError, TypeError, OmegaConfBaseException):
            known = {*parameters(resolve(str(node["_target_"]), trusted(overrides))), *SPECIAL}
            for key in node.keys() - known:
                if not any(f"{t}.".startswith(f"{block}.{key}.") for t in typed):
                    del node[key]


def _plain(config: DictConfig, problems: list[Problem]) -> dict[str, Any]:
    """The configuration without Hydra's part, resolved; what cannot be resolved is reported.

    Raises:
        ConfigError: its references would unfold to too much.
    """
    raw = flat(OmegaConf.to_container(config, resolve=False))
    references = {key: max(1, str(value).count("${")) for key, value in raw.items()}
    if math.prod(references.values()) > MOST:
        key = max(references, key=references.__getitem__)
        raise _unbounded(key, shown(raw[key]), "values that its text joins")
    HydraConfig.instance().cfg = config  # type: ignore[assignment]
    left = itertools.count(MOST, -1)
    try:
        return {
            str(key): _value(config, key, str(key), problems, left)
            for key in config
            if key != "hydra"
        }
    finally:
        # Lightning starts its ranks differently where it finds Hydra's configuration.
        HydraConfig.instance().cfg = None


def _unbounded(key: str, value: str, what: str) -> ConfigError:
    text = f"its references lead to more {what} than at most {MOST}. Write the value."
    return ConfigError(str(Problem(key, value, text)))


def _value(
    node: DictConfig | ListConfig, key: Any, path: str, problems: list[Problem], left: Iterator[int]
) -> Any:
    if OmegaConf.is_missing(node, key):
        problems.append(Problem(path, "???", f"must be given. Write {path}=VALUE."))
        return UNKNOWN
    raw: Any = None
    if OmegaConf.is_interpolation(node, key):
        raw = OmegaConf.to_container(node, resolve=False)[key]  # type: ignore[call-overload,index]
        if NOT_STORED.search(raw):
            text = "Hydra's own settings are not stored with the run. Write the value, or the key."
            problems.append(Problem(path, raw, text))
            return UNKNOWN
    if next(left) < 1:
        raise _unbounded(path, shown(raw), "values")
    try:
        value = node[key]
    except (OmegaConfBaseException, RecursionError) as error:
        if "recursion" in str(error):
            raise _unbounded(path, shown(raw), "keys") from error
        problems.append(Problem(path, str(raw), why_unresolved(str(error))))
        return UNKNOWN
    if isinstance(value, str) and raw is not None and len(value) > MOST:
        raise _unbounded(path, raw, "characters")
    if isinstance(value, DictConfig):
        return {str(k): _value(value, k, f"{path}.{k!s}", problems, left) for k in value}
    if isinstance(value, ListConfig):
        return [_value(value, i, f"{path}[{i}]", problems, left) for i in range(len(value))]
    return value


def _stored(
    config: DictConfig, plain: dict[str, Any], problems: list[Problem]
) -> Mapping[str, Any]:
    """The configuration with environment variables by name; a path that has one is a problem."""
    own = {key: node for key, node in config.items_ex(resolve=False) if key != "hydra"}
    if "oc.env" not in str(own):
        return plain
    OmegaConf.register_new_resolver("oc.env", _by_name, replace=True)
    try:
        stored: Any = OmegaConf.to_container(
            OmegaConf.masked_copy(config, list(plain)), resolve=True
        )
    except OmegaConfBaseException:
        return plain  # `_plain` reports it
    finally:
        OmegaConf.register_new_resolver("oc.env", env, replace=True)
    text = "a path is stored with the run, and an environment variable is not. Write the path."
    for key, value in flat(stored).items():
        if re.split(r"[.\[]", key)[-1] in PATHS and "${oc.env:" in str(value):
            problems.append(Problem(key, str(value), text))
    return dict(stored)


def _by_name(*arguments: str) -> str:
    return f"${{oc.env:{','.join(map(str, arguments))}}}"
