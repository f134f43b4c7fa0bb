"""`unfold train`: compose, check and build, then run one job or a sweep."""

import os
import sys
from collections.abc import Sequence

from unfold.cli.console import guarded, say, say_text
from unfold.cli.main import help_text
from unfold.errors import ConfigError

INSPECT = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc", "--version")
"""Hydra's flags that show a configuration and run nothing."""


def main() -> None:
    """The command of `python train.py`."""
    sys.exit(guarded(train, sys.argv[1:]))


def train_command(arguments: Sequence[str]) -> int:
    """`unfold train`: the same, after one more argument that its processes repeat."""
    return train(arguments, prefix=("train",))


def train(arguments: Sequence[str], prefix: Sequence[str] = ()) -> int:
    """Train and evaluate one configuration or the jobs of a sweep.

    `prefix` are the arguments before that lead here, `train` for the console script.
    """
    if {"--help", "-h"} & set(arguments):
        say_text(help_text())
        return 0
    if any(text.partition("=")[0] in INSPECT for text in arguments):
        return inspect(arguments)
    from unfold.cli.sweeps.launch import take_launcher
    from unfold.config.compose import Composed, compose
    from unfold.config.sweep import search_method
    from unfold.launchers.parallel import join_sweep
    from unfold.runs.status import OUTCOME_VARIABLE

    join_sweep()
    launcher, arguments = take_launcher(arguments)
    if (method := search_method(arguments)) is not None:
        from unfold.cli.sweeps.search import search

        return search(method, arguments, prefix, launcher)
    from unfold.cli.runtime import keep_freed_memory
    from unfold.config.build import verify

    keep_freed_memory()  # before PyTorch allocates anything
    longer = None
    if any("extend" in text for text in arguments):  # what reads a run imports PyTorch
        from unfold.config.stored_run import extended

        longer = extended(arguments)
    if OUTCOME_VARIABLE not in os.environ:  # which a sweep sets for its jobs
        expect_multirun(arguments)
    composed = Composed((), ()) if longer else compose(arguments)
    jobs = [longer] if longer else verify(composed)
    if composed.repeated:
        say(f"note: {composed.repeated} points of the sweep are named twice and run once.")
    from unfold.cli.sweeps.sweep import rehearse, run_in_process, run_jobs_of, run_one

    if len(jobs) > 1:
        rehearse(jobs)
    if len(jobs) == 1:
        from unfold.runs.status import write_outcome

        write_outcome(run_one(jobs[0], prefix))
    elif launcher is None:
        run_in_process(jobs, prefix)
    else:
        run_jobs_of(jobs, prefix, launcher)
    return 0


def expect_multirun(arguments: Sequence[str]) -> None:
    """Refuse an option of `sweep` without -m, except with the values that a job of it has.

    Of a search they are some of what it sweeps over: ranges that cannot act are left out.
    """
    from unfold.config.compose import preset_of_sweep
    from unfold.config.overrides import key_of
    from unfold.config.sweep import METHODS, SEARCH

    option = next((t.partition("=")[2] for t in arguments if key_of(t) == "sweep"), "null")
    own = [text for text in arguments if text.startswith(SEARCH)]
    if {"-m", "--multirun"} & {*arguments} or (option in ("", "null") and not own):
        return
    keys = preset_of_sweep([text for text in arguments if text not in own]).keys
    lacking = keys - {*map(key_of, arguments)}
    if own or (lacking and (option not in METHODS or lacking == keys)):
        given = own[0] if option in ("", "null") else f"sweep={option}"
        raise ConfigError(
            f"{given}: a sweep runs several jobs, and -m is missing. Add it, python train.py -m "
            f"{given}; or leave {given} out, for one run."
        )


def inspect(arguments: Sequence[str]) -> int:
    """Let Hydra answer its own flags that show a configuration and run nothing."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    from unfold.config.arguments import TRAIN
    from unfold.config.build import verify
    from unfold.config.compose import compose
    from unfold.config.options import configs_folder, first_line

    def nothing(config: DictConfig) -> None:
        """Hydra wants a task; none of these flags runs it."""

    before = sys.argv
    sys.argv = [before[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise instead of printing and exiting
    try:
        folder = str(configs_folder())
        hydra.main(config_path=folder, config_name="train", version_base="1.3")(nothing)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        given = TRAIN.parse(arguments, known_only=True)
        overrides = [text for text in given.overrides if "=" in text]
        sweep = ["-m"] if given.multirun else []
        verify(compose([*sweep, *given.folder_flags, *overrides]))  # has the better message
        raise ConfigError(first_line(error)) from error
    finally:
        sys.argv = before
        del os.environ["HYDRA_FULL_ERROR"]
    return 0
