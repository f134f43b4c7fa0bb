"""The console script `unfold`, and its help."""

import importlib
import sys
from collections.abc import Callable, Sequence

from unfold.cli.console import guarded, say_text
from unfold.config import options
from unfold.config.schema import GROUPS, PRESETS
from unfold.errors import ConfigError, listing, nearest

COMMANDS = {
    "train": "unfold.cli.train:train_command",
    "evaluate": "unfold.cli.evaluate:evaluate_run",
    "reconstruct": "unfold.cli.reconstruct:reconstruct_image",
    "adapt": "unfold.cli.adapt:adapt_run",
    "calibrate": "unfold.cli.adapt:calibrate_run",
    "explain": "unfold.cli.explain:explain",
    "doctor": "unfold.cli.doctor:doctor",
    "check": "unfold.cli.check:check",
    "list": "unfold.cli.runs:list_runs",
    "show": "unfold.cli.runs:show_run",
    "diff": "unfold.cli.runs:diff_runs",
    "table": "unfold.cli.runs:runs_table",
    "report": "unfold.cli.report:write_page",
    "export": "unfold.cli.export:export_run",
    "reproduce": "unfold.cli.reproduce:reproduce",
    "compare-gradients": "unfold.cli.compare_gradients:compare_gradients_of_batch",
}
"""Where each subcommand is; imported when it is called."""


def main() -> None:
    """The command `unfold`."""
    sys.exit(guarded(dispatch, sys.argv[1:]))


def dispatch(arguments: Sequence[str]) -> int:
    """Run the subcommand that the first argument names; each has its own `--help`."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", ())
    if command in ("--help", "-h"):
        say_text(help_text())
        return 0
    if command not in COMMANDS:
        near = nearest(command, COMMANDS)
        raise ConfigError(f"unknown command '{command}'{near} Allowed: {listing(COMMANDS)}.")
    module, _, name = COMMANDS[command].partition(":")
    run: Callable[[Sequence[str]], int] = getattr(importlib.import_module(module), name)
    return run(rest)


HEAD = """unfold: unfolded and deep-equilibrium networks for imaging inverse problems

usage: unfold train [KEY=VALUE ...]                   train, then evaluate across operators
       unfold train -m KEY=VALUE,VALUE ...            a sweep over all combinations; its jobs run
                                                      by hydra/launcher=parallel|slurm|ray|basic
                                                      hydra.launcher.jobs=N
       unfold evaluate run=RUN [evaluation=NAME ...]  evaluate a run again
       unfold reconstruct run=RUN input=IMAGE         simulate a measurement and reconstruct it
       unfold reconstruct run=RUN measurement=FILE [physics.kernel=FILE] [output=FILE]
       unfold reconstruct run=RUN measurement=SCAN|FOLDER output=SCAN.nii.gz|FOLDER
       unfold adapt run=RUN measurement=SCAN [steps=N] fine-tune on this scan alone
       unfold calibrate run=RUN measurement=FILE learn=[physics.kernel]
                                                      fit the operator to this file alone
       unfold explain [KEY=VALUE ...]                 the update, and where it converges
       unfold doctor [KEY=VALUE ...]                  every learnable name and its gradient
       unfold compare-gradients [images=N] [iterations=K] [KEY=VALUE ...]
                                                      each gradient's time, memory and error
       unfold check physics=NAME|all                  every property of a component; or prior,
                                                      fidelity, algo, start, loss, model;
                                                      --only PH1,PH9 measures some of them
       unfold check data=folder data.root=DIR         every image, and what is wrong with it
       unfold list | show RUN | diff RUN RUN | reproduce RUN
       unfold table GLOB --rows KEY --cols KEY        the runs, and what they scored
       unfold report RUN ... [output=FILE.html]       runs compared on one page, to open and to send
       unfold export RUN [format=safetensors|onnx|torch_export|deepinv] [output=DIR]
                                                      weights for other programs, with a card
       python train.py [KEY=VALUE ...]                the same as unfold train

Options of each group, GROUP=OPTION:
"""

TAIL = """
Keys: algo.stepsize=0.5, trainer.max_steps=1000, seed=1, name=NAME, rerun=true, runs_dir=DIR.
See all of them with --cfg job, and your own options with --config-dir DIR.
  --cfg job            print the composed configuration, and run nothing
  --cfg job -p algo    print one group of it
  --info defaults-tree show where each group comes from
  UNFOLD_DEBUG=1       show tracebacks       UNFOLD_MALLOC=0   leave the memory allocator alone
"""


def help_text() -> str:
    """The whole help; read from the files, without importing what they name."""
    folder = [options.configs_folder()]
    groups = [*GROUPS, "trainable", *PRESETS]
    lines = [f"  {group:<11} {' '.join(options.names(group, folder))}\n" for group in groups]
    return HEAD + "".join(lines) + TAIL
