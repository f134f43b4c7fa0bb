"""`unfold evaluate run=DIR`: evaluate the best weights of a run again."""

from collections.abc import Sequence

from unfold.cli.arguments import configured, named_run, split
from unfold.cli.console import say, scores_table, short


def evaluate_run(words: Sequence[str]) -> int:
    """Evaluate a run, with the evaluation that the words choose.

    Raises:
        UnfoldError: the run does not exist, or its configuration or weights cannot be used.
    """
    own = split(words, ("run",))
    reference = named_run(own, "evaluate")
    checked = configured(reference, own.overrides)
    from unfold.cli.job import evaluate_components
    from unfold.cli.runtime import keep_freed_memory, set_threads
    from unfold.config.build import components_of
    from unfold.runs.lock import Lock
    from unfold.training.checkpoints.weights import load_weights

    keep_freed_memory()
    parts = components_of(checked)
    set_threads(parts.trainer.threads)
    parts.data.check()
    lock = Lock(reference.path / ".lock")
    lock.acquire()
    try:
        load_weights(parts.reconstructor, reference.path)
        scores = evaluate_components(checked, parts, reference.path, reference.choices["physics"])
    finally:
        lock.release()
    scores_table(scores)
    say(f"evaluated {short(reference.path)}")
    return 0
