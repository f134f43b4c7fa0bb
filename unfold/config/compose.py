"""From the words of the command line to jobs: plain data, with every mistake listed at once.

Hydra's documented compose API is used instead of `hydra.main`, whose job handling makes folders
before anything is checked and whose callbacks a configuration file can name.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from unfold.config.errors import UNKNOWN, Problem, refuse
from unfold.config.explain import explain, why_unresolved
from unfold.config.options import configs_folder
from unfold.config.overrides import key_of, sift, trusted
from unfold.config.sweep import SEARCH, expand, is_sweep, with_preset
from unfold.runs.catalogue import flat


@dataclass(frozen=True)
class Job:
    """One composed configuration.

    Args:
        config: the configuration, resolved, as plain dictionaries, lists and scalars.
        stored: the same as a run stores it: references to environment variables as they are typed.
        choices: the option chosen in each group.
        overrides: the words of the command line that made it.
        trust: the packages that the command line trusts.
        folders: where options are looked for, the packaged ones first.
    """

    config: Mapping[str, Any]
    stored: Mapping[str, Any]
    choices: Mapping[str, str]
    overrides: tuple[str, ...]
    trust: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Composed:
    """The jobs of one command, and the mistakes found while composing them."""

    jobs: tuple[Job, ...]
    problems: tuple[Problem, ...]
    repeated: int = 0


@contextmanager
def session(config_name: str = "train") -> Iterator[str]:
    """Hydra, initialised on the packaged configuration files."""
    GlobalHydra.instance().clear()
    major, minor = (int(part) for part in hydra.__version__.split(".")[:2])
    # From Hydra 1.4 on `version_base` has one meaning left and is better not given.
    base = {"version_base": "1.3"} if (major, minor) < (1, 4) else {}
    with hydra.initialize_config_dir(str(configs_folder()), job_name="train", **base):
        yield config_name


def compose(words: Sequence[str]) -> Composed:
    """Compose every job that the words of a command line ask for.

    Raises:
        ConfigError: a word that is neither a flag nor a setting, or an empty sweep.
    """
    typed = TRAIN.parse(words)
    folders = (configs_folder(), *typed.config_dirs)
    sound, found = sift(typed.overrides, multirun=typed.multirun, folders=folders)
    arguments = replace(typed, overrides=sound)
    problems = [*found, *options.clashes(typed.config_dirs, configs_folder())]
    with session():
        grid, repeated = _grid(arguments)
        jobs: list[Job] = []
        for overrides in grid:
            job, mistakes = compose_one(overrides, arguments)
            problems += mistakes
            jobs += [job] if job else []
    return Composed(tuple(jobs), tuple(dict.fromkeys(problems)), repeated)


def _grid(arguments: Arguments) -> tuple[list[tuple[str, ...]], int]:
    if not arguments.multirun:
        return [arguments.overrides], 0
    fixed = [text for text in arguments.overrides if not is_sweep(text)]
    base, _, _ = _tolerant(fixed, arguments)
    params = {} if base is None else OmegaConf.to_container(base.hydra.sweeper).get("params")  # type: ignore[union-attr]
    grid = expand(with_preset(arguments.overrides, params or {}))
    return grid.jobs, grid.repeated


class Preset(NamedTuple):
    """What an option of `sweep` adds to the words.

    overrides: those of the words, after those of the option that the words do not name.
    search: settings of the search itself.
    """

    overrides: list[str]
    search: dict[str, Any]


def preset_of_sweep(words: Sequence[str]) -> Preset:
    """What is searched, and how, where the words name a `sweep` option.

    Raises:
        ConfigError: lists the mistakes in the words.
    """
    typed = TRAIN.parse(words)
    folders = (configs_folder(), *typed.config_dirs)
    sound, problems = sift(typed.overrides, multirun=True, folders=folders)
    with session():
        fixed = [text for text in sound if not is_sweep(text)]
        base, _, mistakes = _tolerant(fixed, typed)
    refuse([*problems, *mistakes])
    found = {} if base is None else OmegaConf.to_container(base.hydra.sweeper).get("params")  # type: ignore[union-attr]
    params = found or {}
    search = {key: value for key, value in params.items() if key.startswith(SEARCH)}
    return Preset(with_preset(sound, params), search)


def compose_one(overrides: Sequence[str], arguments: Arguments) -> tuple[Job | None, list[Problem]]:
    """One job and its mistakes; no job where nothing can be composed at all."""
    config, rest, problems = _tolerant(overrides, arguments)
    if config is None:
        return None, problems
    choices = {str(k): str(v) for k, v in config.hydra.runtime.choices.items() if "hydra/" not in k}
    plain = _plain(config, problems)
    folders = (configs_folder(), *arguments.config_dirs)
    stored = _stored(config, plain, problems)
    return Job(plain, stored, choices, tuple(rest), trusted(rest), folders), problems


def _tolerant(
    overrides: Sequence[str], arguments: Arguments
) -> tuple[DictConfig | None, list[str], list[Problem]]:
    """Compose; leave out an override that cannot be composed, so that all mistakes are found.

    Returns:
        The configuration, the overrides that made it, and what was wrong with the others.
    """
    rest, problems = list(overrides), list[Problem]()
    folders = (configs_folder(), *arguments.config_dirs)
    while True:
        try:
            return _compose(rest, arguments.config_dirs), rest, problems
        except Exception as error:
            if os.environ.get("UNFOLD_DEBUG") == "1":
                raise
            problem, culprit = explain(error, rest, folders)
            problems.append(problem)
            if culprit is None:
                return None, rest, problems
            rest.remove(culprit)


def _compose(overrides: Sequence[str], own: Sequence[Path]) -> DictConfig:
    folders = (configs_folder(), *own)
    words = [_forced(word, folders) for word in overrides]
    paths = ",".join(f'"file://{folder}"' for folder in own)
    search = [f"hydra.searchpath=[{paths}]"] if paths else []
    return hydra.compose("train", [*words, *search], return_hydra_config=True)


def _forced(word: str, folders: Sequence[Path]) -> str:
    """An override that Hydra takes though no file has its key: `check` knows better what exists.

    A file may leave out an argument that its class has, and `trainable.constrain` takes any name.
    """
    bare = word.lstrip("+")
    key = key_of(word)
    placed = "@" in bare.partition("=")[0]  # with `+` it is one more option
    if word.startswith("~") or placed or key.startswith("hydra"):
        return word
    return bare if options.names(key, folders) else f"++{bare}"


PATHS = frozenset(
    {"init_from", "kernel", "name", "path", "root", "runs_dir", "test_root", "validation_root"}
    | {"weights"}
)
"""Keys whose value becomes a path, which a run must know by what is written down."""


def _stored(
    config: DictConfig, plain: dict[str, Any], problems: list[Problem]
) -> Mapping[str, Any]:
    """The configuration with environment variables by name; a path that has one is a problem."""
    own = {key: node for key, node in config.items_ex(resolve=False) if key != "hydra"}
    if "oc.env" not in str(own):
        return plain
    OmegaConf.register_new_resolver("oc.env", _by_name, replace=True)
    try:
        stored = OmegaConf.to_container(OmegaConf.masked_copy(config, list(plain)), resolve=True)
    except OmegaConfBaseException:
        return plain  # `_plain` reports it
    finally:
        OmegaConf.register_new_resolver("oc.env", env, replace=True)
    for key, value in flat(stored).items():
        if re.split(r"[.\[]", key)[-1] in PATHS and "${oc.env:" in str(value):
            text = (
                "a path is stored with the run, and an environment variable is not. Write the path."
            )
            problems.append(Problem(key, str(value), text))
    return stored  # type: ignore[return-value]


def _by_name(*arguments: str) -> str:
    return f"${{oc.env:{','.join(map(str, arguments))}}}"


def _plain(config: DictConfig, problems: list[Problem]) -> dict[str, Any]:
    """The configuration without Hydra's part, resolved; what cannot be resolved is reported."""
    HydraConfig.instance().set_config(config)
    try:
        return {
            str(key): _value(config, key, str(key), problems) for key in config if key != "hydra"
        }
    finally:
        # Lightning starts its ranks in another way where it finds Hydra's configuration.
        HydraConfig.instance().cfg = None


def _value(node: DictConfig | ListConfig, key: Any, path: str, problems: list[Problem]) -> Any:
    if OmegaConf.is_missing(node, key):
        problems.append(Problem(path, "???", f"must be given. Write {path}=VALUE."))
        return UNKNOWN
    try:
        value = node[key]
    except OmegaConfBaseException as error:
        raw = OmegaConf.to_container(node, resolve=False)[key]  # type: ignore[call-overload,index]
        problems.append(Problem(path, str(raw), why_unresolved(str(error))))
        return UNKNOWN
    if isinstance(value, DictConfig):
        return {str(k): _value(value, k, f"{path}.{k!s}", problems) for k in value}
    if isinstance(value, ListConfig):
        return [_value(value, i, f"{path}[{i}]", problems) for i in range(len(value))]
    return value
