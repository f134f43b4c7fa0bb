"""`unfold evaluate run=DIR`: re-evaluate the best weights of a run."""

from collections.abc import Sequence

from unfold.cli.console import say, scores_table, short
from unfold.cli.stored_run import open_run
from unfold.config.arguments import Syntax

SYNTAX = Syntax(
    "evaluate",
    "Evaluate the best weights of a run again, with the evaluation that the overrides choose.",
    keys={"run": "the run: its directory, or the end of its name"},
)


def evaluate_run(arguments: Sequence[str]) -> int:
    """Evaluate a run, with the evaluation that the overrides choose."""
    reference, checked, components = open_run(SYNTAX.parse(arguments), "evaluate")
    from unfold.cli.job import evaluate_components
    from unfold.runs.processes import Lock
    from unfold.training.checkpoints.weights import load_weights

    components.data.check()
    trained_on = reference.choices["physics"]
    with Lock(reference.path / ".lock"):
        load_weights(components.reconstructor, reference.path)
        scores = evaluate_components(checked, components, reference.path, trained_on)
    scores_table(scores)
    say(f"evaluated {short(reference.path)}")
    return 0
