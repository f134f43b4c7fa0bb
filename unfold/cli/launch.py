"""Which launcher the words of a sweep choose, and its jobs, some at a time."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unfold.config import options
from unfold.config.options import configs_folder
from unfold.config.overrides import parse_arguments, parse_override
from unfold.errors import ConfigError, PreemptedError, listing, nearest
from unfold.launchers.launcher import Job, Launcher
from unfold.launchers.parallel import Parallel

if TYPE_CHECKING:
    from unfold.config.check import Checked

GROUP = "hydra/launcher"
PREFIX = "hydra.launcher."

BASIC = "basic"
"""All jobs in the process of the sweep, which is no launcher."""


def take_launcher(words: Sequence[str]) -> tuple[Launcher | None, list[str]]:
    """The launcher that the words choose, None for all jobs in this process; the other words.

    Without a word about it, each job has a process of its own, one after another.

    Raises:
        ConfigError: there is no such launcher, its keys or values are wrong, or its package is
            missing.
    """
    own = [word for word in words if _is_own(word)]
    rest = [word for word in words if not _is_own(word)]
    if not own:
        return Parallel(), rest
    given = dict(_pair(word) for word in own)
    name = given.pop(GROUP, "parallel")
    folders = [configs_folder(), *_folders(rest)]
    known = [BASIC, *options.names(GROUP, folders)]
    if name not in known:
        near = nearest(str(name), known)
        raise ConfigError(f"{GROUP} = {name}: no such launcher{near} Allowed: {listing(known)}.")
    if name == BASIC:
        if given:
            shown = ", ".join(f"{PREFIX}{key}" for key in given)
            raise ConfigError(f"{shown}: hydra/launcher=basic runs all jobs in one process.")
        return None, rest
    if name == "parallel" and not given and GROUP in dict(map(_pair, own)):
        given = {"jobs": available_cpus()}
    launcher = _built(_node(str(name), folders) | given, folders)
    launcher.require()
    return launcher, rest


def _is_own(word: str) -> bool:
    key = word.partition("=")[0]
    return key == GROUP or key.startswith(PREFIX)


def _pair(word: str) -> tuple[str, Any]:
    key, separator, text = word.partition("=")
    if not separator or not text:
        raise ConfigError(f"{word}: no value given. Write {key}=VALUE, or {key}=null for none.")
    return key.removeprefix(PREFIX), text if key == GROUP else parse_override(word).value()


def _folders(words: Sequence[str]) -> Sequence[Path]:
    flags = [word for word in words if word.startswith("-") or Path(word).is_dir()]
    return parse_arguments(flags).config_dirs


def _node(name: str, folders: Sequence[Path]) -> dict[str, Any]:
    files = [folder / GROUP / f"{name}.yaml" for folder in folders]
    node = options.read(next(file for file in files if file.is_file()))
    if not isinstance(node, dict) or "_target_" not in node:
        raise ConfigError(f"{GROUP} = {name}: has no _target_: it names no launcher to build.")
    return node


def _built(node: Mapping[str, Any], folders: Sequence[Path]) -> Launcher:
    from unfold.config.check import check_component
    from unfold.config.compose import Job as Composed
    from unfold.config.errors import refuse
    from unfold.config.plan import instantiate

    job = Composed({}, {}, {}, (), folders=tuple(folders))
    plan, problems = check_component(
        node, "unfold.launchers.launcher.Launcher", PREFIX.rstrip("."), job
    )
    refuse(problems)
    launcher: Launcher = instantiate(plan)
    return launcher


def available_cpus() -> int:
    """The CPUs that this process may use."""
    from unfold.cli.runtime import available_cpus as available

    return available()


def command_of(one: "Checked") -> list[str]:
    """The words that run one job of a sweep alone."""
    folders = [f"--config-dir={folder}" for folder in one.job.folders[1:]]
    return [*folders, *one.job.overrides]


def run_jobs(
    commands: Sequence[Sequence[str]],
    launcher: Launcher,
    ended: Callable[[int, Job], None],
    runs_dir: str | Path = "runs",
) -> None:
    """Run command lines as jobs, some at a time.

    Args:
        commands: the words of each.
        launcher: starts them.
        ended: told the number of each job that ended, and the job.
        runs_dir: the folder of all runs, where files go that several machines must see.

    Raises:
        PreemptedError: a signal asked to end; the jobs that ran have saved their state.
    """
    free, running = list(range(launcher.jobs)), dict[int, tuple[int, Job]]()
    waiting = iter(enumerate(commands))
    with job_folder(launcher, Path(runs_dir)) as folder, all_ended(running):
        while True:
            while free and (following := next(waiting, None)) is not None:
                number, words = following
                own = folder / str(number)
                own.mkdir()
                slot = free.pop()
                running[number] = (slot, launcher.start(words, own, slot))
            if not running:
                return
            for number, (slot, job) in list(running.items()):
                if job.code is not None:
                    ended(number, job)
                    del running[number]
                    free.append(slot)
            time.sleep(launcher.poll)


@contextmanager
def job_folder(launcher: Launcher, runs_dir: Path) -> Iterator[Path]:
    """A folder for the files of the jobs, gone at the end."""
    if not launcher.shared:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
        return
    root = runs_dir.expanduser().resolve() / ".jobs"
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=root))
    try:
        yield folder
    finally:
        # A job that was just ended may still write its last lines.
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def all_ended(running: dict[int, tuple[int, Job]]) -> Iterator[None]:
    """End the jobs that still run, where the sweep itself is ended."""
    from unfold.training.checkpoints.signals import raising_signals

    with raising_signals():
        try:
            yield
        except BaseException as error:
            for _, job in running.values():
                job.end()
            if isinstance(error, PreemptedError):
                raise type(error)(f"{len(running)} jobs saved and ended. {error}") from error
            raise
