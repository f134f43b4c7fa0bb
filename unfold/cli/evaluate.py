"""`unfold evaluate run=DIR`: evaluate the best weights of a run under other conditions."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unfold.cli.console import say, scores_table, short
from unfold.cli.runtime import keep_freed_memory, set_threads
from unfold.config.arguments import Arguments, Syntax
from unfold.config.build import components_of
from unfold.config.check import Checked, Components
from unfold.config.overrides import key_of
from unfold.config.schema import GROUPS
from unfold.config.stored_run import configured
from unfold.errors import ConfigError, listing
from unfold.runs import files
from unfold.runs.catalogue import PRETRAINED, Entry, read_reference
from unfold.runs.compare import Computation, differences
from unfold.runs.directory import Request, changed, claim
from unfold.runs.identity import TRAINING, conditions, digest_of, evaluation_name
from unfold.runs.redact import redacted

SYNTAX = Syntax(
    "evaluate",
    "Evaluate the best weights of a run under what the overrides change, in a folder of its own.",
    keys={"run": "the run: its directory, or the end of its name"},
)


def open_run(given: Arguments, command: str) -> tuple[Entry, Checked, Components]:
    """The run that `run=` names, with the overrides that are given, and untrained weights."""
    if "run" not in given.keys:
        raise ConfigError(f"unfold {command} needs a run. Write unfold {command} run=DIR.")
    keep_freed_memory()  # before PyTorch allocates anything
    folders = (text.partition("=")[2] for text in given.overrides if key_of(text) == "runs_dir")
    from unfold.training.lean_imports import import_torchmetrics

    import_torchmetrics()
    reference = read_reference(given.keys["run"], next(folders, "runs"))
    checked = configured(reference, [*given.folder_flags, *given.overrides])
    components = components_of(checked)
    set_threads(components.trainer.threads)
    return reference, checked, components


def evaluate_run(arguments: Sequence[str]) -> int:
    """Evaluate a run, with what the overrides change, in a directory in its `evaluations`.

    The evaluation that the run itself made is compared with its seal, and never made again.
    """
    reference, checked, components = open_run(SYNTAX.parse(arguments), "evaluate")
    from unfold.cli.job import evaluate_components, write_origin
    from unfold.evaluation.base import OTHERS, NoEvaluation
    from unfold.runs.processes import Lock
    from unfold.runs.provenance import recorded
    from unfold.training.checkpoints.signals import raising_signals
    from unfold.training.checkpoints.weights import load_weights

    if isinstance(components.evaluation, NoEvaluation):
        raise ConfigError(
            f"evaluation = none, as in {short(reference.path)}: it measures nothing. Name another "
            f"one: unfold evaluate run={short(reference.path)} evaluation=auto."
        )
    _refuse_training(reference, checked)
    components.data.check(training=False)
    fingerprint = components.data.fingerprint()
    # Where it runs makes no other evaluation.
    trained = {key: reference.config[key] for key in TRAINING if key in reference.config}
    precision = checked.job.stored["trainer"]["precision"]
    trained["trainer"] = trained["trainer"] | {"precision": precision}
    job = replace(checked.job, stored={**checked.job.stored, **trained})
    checked, expected = checked._replace(job=job), Computation(job.stored, fingerprint)
    if _is_own(reference, expected):
        scores_table(reference.scores)
        say(f"{short(reference.path)} made this evaluation itself, and it is as it was written.")
        return 0
    weights = digest_of(str(reference.path), "")
    name = evaluation_name(job.config, job.choices, weights, fingerprint)
    home = reference.path
    if home.parent == PRETRAINED:  # the package stays as it is installed
        home = Path(checked.settings.runs_dir) / home.name
        home.mkdir(parents=True, exist_ok=True)
    path, request = home / OTHERS / name, Request(expected, checked.settings.rerun)
    with Lock(home / ".lock"), raising_signals(), claim(path, request) as run:
        if run.plan == "finished":
            scores = run.results()
        else:
            load_weights(components.reconstructor, reference.path)
            write_origin(run, checked, components, fingerprint)
            with recorded(path) as scores:
                trained_on = reference.choices["physics"]
                scores |= evaluate_components(checked, components, path, trained_on)
                files.write_json(path / "results.json", scores)
    scores_table(scores)
    done = "was evaluated so before" if run.plan == "finished" else "evaluated"
    say(f"{done}: {short(path)}")
    return 0


WHERE = re.compile(
    r"trainer\.(accelerator|devices|nodes|precision|progress|strategy|threads|shards)"
)
"""Keys of `trainer` that an evaluation reads as well."""


def _refuse_training(reference: Entry, checked: Checked) -> None:
    """Refuse changes of what made the weights, which an evaluation takes as they are."""
    changed = differences(reference.config, redacted(checked.job.stored))
    for key, _, value in changed:
        if re.split(r"[.\[]", key)[0] in TRAINING and not WHERE.fullmatch(key):
            allowed = listing([*(group for group in GROUPS if group not in TRAINING), "seed"])
            raise ConfigError(
                f"{key} = {value}: is part of the training of {short(reference.path)}, whose "
                f"weights are evaluated as they are. An evaluation may change {allowed}; another "
                "training is a run of its own, unfold train."
            )


def _is_own(reference: Entry, expected: Computation) -> bool:
    """Whether the run, finished by this code, holds this evaluation of these images."""
    origin = files.origin_of(reference.path)
    same = conditions(reference.config) == conditions(redacted(expected.config))
    made = reference.state == "finished" and origin.get("data") == expected.fingerprint
    return same and made and not changed(reference.path, expected)
