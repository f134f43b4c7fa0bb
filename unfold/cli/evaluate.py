"""`unfold evaluate run=DIR`: evaluate the best weights of a run under other conditions."""

from collections.abc import Sequence

from unfold.cli.console import say, scores_table, short
from unfold.cli.stored_run import open_run
from unfold.config.arguments import Syntax
from unfold.errors import ConfigError
from unfold.runs import files
from unfold.runs.catalogue import Entry
from unfold.runs.compare import Computation
from unfold.runs.directory import Request, changed, claim
from unfold.runs.identity import conditions, digest_of, evaluation_name
from unfold.runs.redact import redacted

SYNTAX = Syntax(
    "evaluate",
    "Evaluate the best weights of a run under what the overrides change, in a folder of its own.",
    keys={"run": "the run: its directory, or the end of its name"},
)


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
            f"one: unfold evaluate run={short(reference.path)} evaluation=across_operators."
        )
    components.data.check()
    fingerprint = components.data.fingerprint()
    expected = Computation(checked.job.stored, fingerprint)
    if _is_own(reference, expected):
        scores_table(reference.scores)
        say(f"{short(reference.path)} made this evaluation itself, and it is as it was written.")
        return 0
    job, weights = checked.job, digest_of(str(reference.path), "")
    name = evaluation_name(job.config, job.choices, weights, fingerprint)
    path, request = reference.path / OTHERS / name, Request(expected, checked.settings.rerun)
    with Lock(reference.path / ".lock"), raising_signals(), claim(path, request) as run:
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


def _is_own(reference: Entry, expected: Computation) -> bool:
    """Whether the run, finished by this code, holds this evaluation of these images."""
    origin = files.origin_of(reference.path)
    same = conditions(reference.config) == conditions(redacted(expected.config))
    made = reference.state == "finished" and origin.get("data") == expected.fingerprint
    return same and made and not changed(reference.path, expected)
