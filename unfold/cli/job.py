"""One job: build, claim its directory, fit, evaluate, write down."""

from collections.abc import Sequence
from pathlib import Path

from unfold.cli.console import say, scores_table, short
from unfold.cli.dry_run import rehearse
from unfold.cli.runtime import set_threads
from unfold.config.build import Parts, build, build_training, option_names
from unfold.config.check import Checked
from unfold.config.options import in_options
from unfold.config.overrides import key_of
from unfold.config.weights import located, origins_of
from unfold.errors import IncompatibleError
from unfold.runs import files
from unfold.runs.directory import Request, Run, claim
from unfold.runs.history import begin, recorded
from unfold.runs.identity import directory_for
from unfold.runs.outcome import Outcome, tell
from unfold.runs.provenance import Made, provenance
from unfold.runs.ranks import check_launch, rank
from unfold.runs.redact import redacted, redacted_overrides
from unfold.runs.verify import Computation
from unfold.runs.weights import digests, sha256
from unfold.training.checkpoints.signals import raising_signals


def run_job(checked: Checked) -> Outcome:
    """Run a checked configuration, go on with it, or say that it is done.

    Raises:
        UnfoldError: the configuration, the data, the training or the directory fails.
    """
    parts = build(checked)
    with option_names(checked, parts.groups):
        parts.trainer.check_devices()
    if checked.settings.init_from is not None:
        _start_from(parts, checked.settings.init_from, checked.settings.runs_dir)
    check_launch(parts.trainer.nodes)
    set_threads(parts.trainer.threads, _processes(parts))
    parts.data.check()
    try:
        rehearse(parts, checked.settings.seed, strict=checked.settings.strict)
    except IncompatibleError as error:
        raise in_options(error, checked.job.choices, checked.job.folders) from error
    _tell_what_cannot_act(parts, checked.job.overrides)
    fingerprint = parts.data.fingerprint()
    directory = directory_for(checked.job.config, checked.job.choices, fingerprint)
    with raising_signals(), claim(directory, _request(checked, parts, fingerprint)) as run:
        if run.plan == "finished":
            return _already_finished(run)
        if not run.is_rank:
            _announce(run)
            for sentence in () if run.checkpoint else _starts(checked, parts):
                say(sentence)
            write_origin(run, checked, parts, fingerprint)
            tell(Outcome(run.path, {}, repeated=False))
        if run.is_rank:
            return Outcome(run.path, _compute(checked, parts, run), repeated=False)
        with recorded(run) as scores:
            scores |= _compute(checked, parts, run)
            files.write_json(run.path / "results.json", scores)
        scores_table(scores)
        say(f"finished {short(run.path)}")
    return Outcome(run.path, scores, repeated=False)


def _request(checked: Checked, parts: Parts, fingerprint: str) -> Request:
    expected = Computation(checked.job.stored, fingerprint)
    own = rank() if parts.trainer.processes > 1 else 0
    return Request(expected, checked.settings.rerun, checked.settings.accept_code, own)


def _tell_what_cannot_act(parts: Parts, overrides: Sequence[str]) -> None:
    """A value that was set and changes nothing: in a sweep over priors that is no mistake."""
    keys = {key_of(word) for word in overrides}
    for name, reason in parts.reconstructor.dead.items():
        if name in keys:
            say(f"warning: {name} is set and cannot act: {reason}.")


def _start_from(parts: Parts, run: str, runs_dir: str) -> None:
    from unfold.training.checkpoints.weights import load_weights

    load_weights(parts.reconstructor, located("init_from", run, runs_dir))


def _starts(checked: Checked, parts: Parts) -> list[str]:
    """Where the weights start: those of another run take the place of all others."""
    if checked.settings.init_from is not None:
        return [f"every weight starts from {checked.settings.init_from}"]
    return [origin.sentence for origin in origins_of(checked, parts.reconstructor)]


def _processes(parts: Parts) -> int:
    return parts.trainer.devices if parts.trainer.accelerator == "cpu" else 1


def _already_finished(run: Run) -> Outcome:
    scores = run.results()
    scores_table(scores)
    say(f"{short(run.path)} is finished: nothing to compute. Add rerun=true to repeat it.")
    return Outcome(run.path, scores, repeated=True)


def _announce(run: Run) -> None:
    for note in run.notes:
        say(f"note: {note}")
    if run.checkpoint is None:
        say(f"run {short(run.path)}")
    else:
        say(f"run {short(run.path)}, continued from {run.checkpoint.name}")


def write_origin(run: Run, checked: Checked, parts: Parts, fingerprint: str) -> None:
    """Write what the run is made of, before it computes anything."""
    job = checked.job
    config = {key: value for key, value in job.stored.items() if key != "trust"}
    stored = run.path / "config.yaml"
    files.write_yaml(stored, redacted(config))
    files.write_yaml(run.path / "overrides.yaml", redacted_overrides(job.overrides))
    made = Made(
        overrides=job.overrides,
        choices=job.choices,
        folders=job.folders[1:],
        seed=checked.settings.seed,
        fingerprint=fingerprint,
        shapes=parts.data.shapes(),
        weights=digests(job.config),
    )
    begin(run, {"config": {"file": stored.name, "sha256": sha256(stored)}, **provenance(made)})


def _compute(checked: Checked, parts: Parts, run: Run) -> dict[str, float]:
    scores: dict[str, float] = {}
    if any(p.requires_grad for p in parts.reconstructor.parameters()):
        from unfold.training.fit import fit

        training = build_training(checked, parts)
        scores |= fit(
            training,
            parts.data,
            parts.trainer,
            parts.log,
            run.path,
            objective=checked.settings.objective,
            resume_from=run.checkpoint,
        )
    if run.is_rank:  # the first process evaluates alone
        return scores
    return scores | evaluate_parts(checked, parts, run.path, checked.job.choices["physics"])


def evaluate_parts(
    checked: Checked, parts: Parts, directory: Path, trained_on: str
) -> dict[str, float]:
    """Evaluate the weights that the reconstructor holds.

    Args:
        checked: the configuration.
        parts: what is evaluated, and how.
        directory: of the run.
        trained_on: the name of the physics that the weights were trained on.
    """
    from unfold.evaluation.pipeline import evaluate

    return evaluate(
        parts.reconstructor,
        parts.data,
        parts.evaluation,
        directory,
        physics=parts.physics,
        trained_on=trained_on,
        metrics=parts.metrics,
        seed=checked.settings.seed,
        progress=parts.trainer.progress,
    )
