"""The launcher of a sweep, from the arguments that choose it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unfold.config import options
from unfold.config.arguments import TRAIN
from unfold.config.errors import refuse
from unfold.config.options import configs_folder
from unfold.config.overrides import no_option, parse_override, trusted
from unfold.errors import ConfigError
from unfold.launchers.launcher import Launcher
from unfold.launchers.parallel import Parallel
from unfold.machine import available_cpus

GROUP = "hydra/launcher"
PREFIX = "hydra.launcher."

BASIC = "basic"
"""All jobs in the process of the sweep, without a launcher."""


def take_launcher(arguments: Sequence[str]) -> tuple[Launcher | None, list[str]]:
    """The launcher that is chosen, None for all jobs in this process; the other arguments.

    Unless one is chosen, each job has its own process, one after another.
    """
    own = [text for text in arguments if _is_own(text)]
    rest = [text for text in arguments if not _is_own(text)]
    if not own:
        return Parallel(), rest
    given = dict(map(_pair, own))
    name = given.pop(GROUP, "parallel")
    others = TRAIN.parse(rest)
    refuse(list(options.faults(others.config_dirs, configs_folder())))
    folders = [configs_folder(), *others.config_dirs]
    known = [BASIC, *options.names(GROUP, folders)]
    if name not in known:
        refuse([no_option(GROUP, str(name), known)])
    if name == BASIC:
        if given:
            shown = ", ".join(f"{PREFIX}{key}" for key in given)
            raise ConfigError(f"{shown}: hydra/launcher=basic runs all jobs in one process.")
        return None, rest
    if name == "parallel" and not given and GROUP in dict(map(_pair, own)):
        given = {"jobs": available_cpus()}
    launcher = _built(str(name), given, folders, *trusted(others.overrides))
    launcher.require()
    return launcher, rest


def _is_own(text: str) -> bool:
    key = text.partition("=")[0]
    return key == GROUP or key.startswith(PREFIX)


def _pair(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    if not value:
        raise ConfigError(f"{text}: no value given. Write {key}=VALUE, or {key}=null for none.")
    return key.removeprefix(PREFIX), value if key == GROUP else parse_override(text).value()


def _built(name: str, given: dict[str, Any], folders: Sequence[Path], *trust: str) -> Launcher:
    from unfold.config.check import check_component
    from unfold.config.compose import Job as Composed
    from unfold.config.plan import instantiate

    files = [folder / GROUP / f"{name}.yaml" for folder in folders]
    node = options.read(next(file for file in files if file.is_file()))
    job = Composed({}, {}, {}, (), trust, tuple(folders))
    base, path = "unfold.launchers.launcher.Launcher", PREFIX.rstrip(".")
    merged = node | given if isinstance(node, dict) else node
    plan, problems = check_component(merged, base, path, job)
    refuse(problems)
    launcher: Launcher = instantiate(plan)
    return launcher
