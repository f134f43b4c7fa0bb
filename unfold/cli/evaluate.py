"""`unfold evaluate run=DIR`: re-evaluate the best weights of a run."""

from collections.abc import Sequence

from unfold.cli.console import say, scores_table, short
from unfold.cli.stored_run import configured, named_run
from unfold.config.arguments import Syntax

SYNTAX = Syntax(
    "evaluate",
    "Evaluate the best weights of a run again, with the evaluation that the overrides choose.",
    keys={"run": "the run: its directory, or the end of its name"},
)


def evaluate_run(arguments: Sequence[str]) -> int:
    """Evaluate a run, with the evaluation that the overrides choose.

    Raises:
        UnfoldError: the run does not exist, or its configuration or weights cannot be used.
    """
    given = SYNTAX.parse(arguments)
    reference = named_run(given, "evaluate")
    checked = configured(reference, [*given.folder_flags, *given.overrides])
    from unfold.cli.job import evaluate_components
    from unfold.cli.runtime import keep_freed_memory, set_threads
    from unfold.config.build import components_of
    from unfold.runs.lock import Lock
    from unfold.training.checkpoints.weights import load_weights

    keep_freed_memory()
    components = components_of(checked)
    set_threads(components.trainer.threads)
    components.data.check()
    lock = Lock(reference.path / ".lock")
    lock.acquire()
    try:
        load_weights(components.reconstructor, reference.path)
        scores = evaluate_components(
            checked, components, reference.path, reference.choices["physics"]
        )
    finally:
        lock.release()
    scores_table(scores)
    say(f"evaluated {short(reference.path)}")
    return 0
