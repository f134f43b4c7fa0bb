"""One job: prepare, claim its directory, train, evaluate, write."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from unfold.cli.console import say, scores_table, short
from unfold.cli.dry_run import dry_run
from unfold.cli.runtime import place_of, set_threads
from unfold.config.build import build_training, components_of
from unfold.config.check import Checked, Components
from unfold.config.naming import option_names
from unfold.config.overrides import key_of
from unfold.config.weights import start_from
from unfold.errors import ConfigError
from unfold.initialization import FittedLinear
from unfold.runs import files
from unfold.runs.catalogue import read_reference
from unfold.runs.compare import Computation
from unfold.runs.directory import Request, Run, claim
from unfold.runs.files import stored_config
from unfold.runs.identity import digests, source_hashes
from unfold.runs.processes import check_launch, check_rank, rank
from unfold.runs.provenance import begin, provenance, recorded
from unfold.runs.redact import redacted, redacted_overrides
from unfold.runs.status import Outcome, write_outcome
from unfold.training.checkpoints.checksum import LAST
from unfold.training.checkpoints.signals import raising_signals

WITHOUT_TRUTH = "validation/loss"
"""The objective of data without true images."""


def run_job(checked: Checked) -> Outcome:
    """Run a checked configuration, resume it, or report that it is finished."""
    components = prepare(checked)
    fingerprint = components.data.fingerprint()
    directory = place_of(checked, fingerprint)
    settings, several = checked.settings, components.trainer.processes > 1
    expected = Computation(checked.job.stored, fingerprint)
    request = Request(expected, settings.rerun, settings.accept_code, rank() if several else 0)
    with raising_signals(), claim(directory, request) as run:
        if run.plan == "finished":
            return _already_finished(run, checked, components)
        if run.is_rank:
            return Outcome(run.path, train(checked, components, run), repeated=False)
        announce(run, checked, components)
        write_origin(run, checked, components, fingerprint)
        with recorded(run.path) as scores:
            scores |= train(checked, components, run)
            scores |= evaluate_components(checked, components, run.path)
            files.write_json(run.path / "results.json", scores)
    scores_table(scores)
    say(f"finished {short(run.path)}")
    return Outcome(run.path, scores, repeated=False)


def prepare(checked: Checked) -> Components:
    """The components of a job, after everything that can fail before its directory is claimed."""
    components = components_of(checked)
    trainer, settings = components.trainer, checked.settings
    check_launch(trainer.nodes, trainer.devices)
    check_rank(trainer.processes)
    with option_names(checked):
        trainer.check_devices()
    from unfold.evaluation.base import NoEvaluation
    from unfold.training.checkpoints.weights import check_finite

    if settings.init_from is not None:
        origins = (start_from(components.reconstructor, settings),)
        components = components._replace(origins=origins)
    check_finite(components.reconstructor)
    set_threads(trainer.threads, trainer.devices if trainer.accelerator == "cpu" else 1)
    with option_names(checked):
        components.data.check()
        dry_run(components, settings.seed, strict=settings.strict)
    if learns(components) and not (components.data.truth or settings.objective == WITHOUT_TRUTH):
        raise ConfigError(
            f"objective = {settings.objective}: not all examples of the data have a true image to "
            f"compute it with. Set objective={WITHOUT_TRUTH}."
        )
    unscored = not (learns(components) or components.data.truth)
    if isinstance(components.evaluation, NoEvaluation) and unscored:
        raise ConfigError(
            "nothing to compute: no parameter is learned, evaluation=none measures nothing, and no "
            "true image is known to validate with. Choose another evaluation, evaluation=auto, or "
            "learn something, model=unfolded trainable=default."
        )
    overridden = {key_of(text) for text in checked.job.overrides}
    for name, reason in components.reconstructor.dead.items():
        if name in overridden:  # in a sweep over priors that is no mistake
            say(f"warning: {name} is set and cannot act: {reason}.")
    return components


def _already_finished(run: Run, checked: Checked, components: Components) -> Outcome:
    scores = run.results()
    if not run.is_rank:
        from unfold.training.loggers.local import replay

        for note in run.notes:
            say(f"note: {note}")
        scores_table(scores)
        if dict(stored_config(run.path)["logger"]) != checked.job.stored["logger"]:
            rows = replay(components.logger.build(run.path), run.path)
            say(f"{rows} rows of its curves are sent to the log.")
        say(f"{short(run.path)} is finished: nothing to compute. Add rerun=true to repeat it.")
    return Outcome(run.path, scores, repeated=True)


def announce(run: Run, checked: Checked, components: Components) -> None:
    """Report the directory, and where the weights start; those of another run replace all."""
    for note in run.notes:
        say(f"note: {note}")
    if run.checkpoint is not None:
        say(f"run {short(run.path)}, continued from {run.checkpoint.name}")
    else:
        for line in (f"run {short(run.path)}", *components.origins):
            say(line)
    write_outcome(Outcome(run.path, {}, repeated=False))


def write_origin(run: Run, checked: Checked, components: Components, fingerprint: str) -> None:
    """Write what the run is made of, before it computes anything."""
    job = checked.job
    config = {key: value for key, value in job.stored.items() if key != "trust"}
    stored = run.path / "config.yaml"
    files.write_yaml(stored, redacted(config))
    files.write_yaml(run.path / "overrides.yaml", redacted_overrides(job.overrides))
    made = provenance(
        overrides=job.overrides,
        choices=job.choices,
        folders=job.folders[1:],
        seed=checked.settings.seed,
        fingerprint=fingerprint,
        shapes=components.data.shapes(),
        weights=digests(job.config),
        pixels={split: components.data.content(split) for split in ("validation", "test")},
    )
    origin = {"config": {"file": stored.name, "sha256": files.sha256(stored)}, **made}
    begin(run.path, origin | {"sources": source_hashes(job.trust)}, run.checkpoint)


def learns(components: Components) -> bool:
    """Whether there is anything to train."""
    return any(p.requires_grad for p in components.reconstructor.parameters())


def train(checked: Checked, components: Components, run: Run) -> dict[str, float]:
    """Train what is learnable; where nothing is, validate what is given, if images are known."""
    from unfold.training.checkpoints.weights import save_weights
    from unfold.training.fit_start import fit_start

    settings, net = checked.settings, components.reconstructor
    from_run = settings.init_from is not None and settings.map is None
    if isinstance(net.own_start, FittedLinear) and run.checkpoint is None and not from_run:
        with closing(components.data.train_loader()) as batches:
            fit_start(net, components.physics, batches, settings.seed)
    if not (learns(components) or run.is_rank) and any(True for _ in net.parameters()):
        save_weights(net, run.path)  # for what reads the run: evaluations, exports
    if not learns(components) and (run.is_rank or not components.data.truth):
        return {}
    from unfold.training.lean_imports import import_torchmetrics

    import_torchmetrics()
    from unfold.evaluation.scans import ranges
    from unfold.training.fit import fit, validate

    if not learns(components):
        training, objective = build_training(checked, components), settings.objective
        with option_names(checked):
            return validate(training, components.data, components.trainer, run.path, objective)
    checkpoint = run.checkpoint
    if checked.settings.extend is not None and checkpoint is None:
        checkpoint = _continued(checked, components, run)
    with option_names(checked):
        scores = fit(
            build_training(checked, components),
            components.data,
            components.trainer,
            components.logger,
            run.path,
            objective=checked.settings.objective,
            resume_from=checkpoint,
        )
        if not run.is_rank:
            found = ranges(components.physics, components.data, checked.settings.seed)
            files.write_json(run.path / files.RANGES, found)
        return scores


def _continued(checked: Checked, components: Components, run: Run) -> Path:
    """The state of the run that is extended; says where one longer run would have differed."""
    from unfold.training.checkpoints.extension import adopt

    if run.is_rank:
        return run.path / "checkpoints" / LAST  # rank zero writes it before the ranks meet in `fit`
    settings, now = checked.settings, components.trainer.max_steps
    parent = read_reference(str(settings.extend), settings.runs_dir)
    done, then = int(parent.scores["steps"]), parent.config["trainer"]["max_steps"]
    say(f"continues {short(parent.path)} after its {done} steps")
    factor = components.scheduler.factor
    pairs = ((step, factor(step, then), factor(step, now)) for step in range(done))
    if apart := next((pair for pair in pairs if pair[1] != pair[2]), None):
        step, one, other = apart
        say(
            f"note: not what one run of {now} steps computes: its scheduler has the factor "
            f"{other:.6g} at step {step}, where {one:.6g} was used."
        )
    batches = len(components.data.train_loader())
    shorter = replace(components.trainer, max_steps=then)
    if shorter.validation(batches) != components.trainer.validation(batches):
        say(f"note: one run of {now} steps validates at other steps; give trainer.validate_every=1")
    return adopt(parent.path, run.path)


def evaluate_components(
    checked: Checked, components: Components, directory: Path, trained_on: str | None = None
) -> dict[str, float]:
    """Evaluate the weights that the reconstructor holds; `trained_on` where not its own physics."""
    from unfold.evaluation.base import Context, evaluate

    context = Context(
        components.trainer.place(components.reconstructor),
        components.data,
        directory,
        components.physics,
        trained_on or checked.job.choices["physics"],
        components.metrics,
        checked.settings.seed,
        components.trainer.progress,
    )
    with option_names(checked):
        return evaluate(components.evaluation, context)
