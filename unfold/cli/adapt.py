"""`unfold adapt` and `unfold calibrate`: fit a run, or its operator, to one measured file."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from unfold.cli.console import say, scores_table, short
from unfold.cli.evaluate import open_run
from unfold.cli.reconstruct import expect_new, ranges_of, scan_of
from unfold.config.arguments import Arguments, Syntax
from unfold.disk import expand
from unfold.errors import ConfigError
from unfold.runs import files
from unfold.runs.identity import digest_of

if TYPE_CHECKING:
    from unfold.config.check import Components
    from unfold.evaluation.base import Case
    from unfold.physics.base import Physics

KEYS = {
    "run": "the run: its directory, or the end of its name",
    "measurement": "the measured file",
    "output": "the folder to make, by default FILE_adapted or FILE_calibrated",
    "steps": "of training, by default 200; the best of them is kept",
    "lr": "the learning rate, by default 5e-4, of operators 5e-2",
    "boundary": "circular: a blur is periodic, as trained; else a photograph is not",
}
ADAPT = Syntax(
    "adapt", "Fine-tune the weights of a run on one measured file, without a true image.", keys=KEYS
)
CALIBRATE = Syntax(
    "calibrate",
    "Fit parameters of the operator to one measured file, with the weights of a run fixed.",
    keys={**KEYS, "learn": "the parameters, such as [physics.kernel]"},
)


class Task(NamedTuple):
    """What there is to fit.

    found: of each measurement its physics, what makes its case, its metadata.
    """

    given: Arguments
    components: "Components"
    found: "Sequence[tuple[Physics, Callable[[Physics], Case], Any]]"
    steps: int
    lr: float
    seed: int


class Fit(NamedTuple):
    """What was found.

    makes: the cases, as they are now.
    settings: of the fit, beside those that both commands have.
    write: puts what was fitted into a folder; returns the arguments that use it.
    """

    scores: dict[str, float]
    makes: "Sequence[Callable[[], Case]]"
    settings: dict[str, Any]
    write: Callable[[Path], str]


def adapt_run(arguments: Sequence[str]) -> int:
    """Fine-tune on one file, into a folder that names the run, and reconstruct the file."""
    return _run(ADAPT, arguments, "adapted", "5e-4", _adapt)


def calibrate_run(arguments: Sequence[str]) -> int:
    """Fit the operator to one file, into a folder that names the run, and reconstruct the file."""
    return _run(CALIBRATE, arguments, "calibrated", "5e-2", _calibrate)


def _adapt(task: Task, progress: Callable[[], object]) -> Fit:
    from unfold.training.adapt import adapt
    from unfold.training.checkpoints.weights import save_weights

    net = task.components.reconstructor
    keep = getattr(task.components.loss, "keep", 0.6)  # of loss=splitting
    makes = [partial(make, physics) for physics, make, _ in task.found]
    cases = [make() for make in makes]
    scores = adapt(net, cases, task.steps, task.lr, task.seed, keep, progress)

    def write(folder: Path) -> str:
        save_weights(net, folder)
        return f"weights={short(folder)}"

    return Fit(scores, makes, {"keep": keep}, write)


def _calibrate(task: Task, progress: Callable[[], object]) -> Fit:
    import numpy as np

    from unfold.evaluation.calibration import calibrate
    from unfold.parameters.select import Trainable
    from unfold.reconstructor import learn_physics

    learn = [name for name in task.given.keys.get("learn", "").strip("[]").split(",") if name]
    own, values = learn_physics(task.found[0][0], Trainable(learn), simulates=False)
    makes = [partial(make, replace(one, learned=own.learned)) for one, make, _ in task.found]
    net = task.components.reconstructor
    values.to(task.components.trainer.device)
    scores = calibrate(net, makes, values, task.steps, task.lr, task.seed, progress)

    def write(folder: Path) -> str:
        use = []
        for name in values.plans:
            value = values.value(name).detach().cpu().squeeze(0).numpy()
            np.save(folder / f"{name}.npy", value)
            shown = f"{short(folder / name)}.npy" if value.ndim else f"{value:.4g}"
            use.append(f"physics.{name}={shown}")
        return " ".join(use)

    return Fit(scores, makes, {"learn": learn}, write)


def _run(
    syntax: Syntax,
    arguments: Sequence[str],
    done: str,
    lr: str,
    fit: Callable[[Task, Callable[[], object]], Fit],
) -> int:
    given = syntax.parse(arguments)
    path = expand(given.keys.get("measurement", ""), "measurement")
    if not path.is_file():
        raise ConfigError(f"measurement = {path}: no such file; give measurement=FILE.")
    folder = expand(given.keys.get("output", f"{path.stem}_{done}"), "output")
    steps, rate = int(_positive(given, "steps", "200")), _positive(given, "lr", lr)
    expect_new(folder)
    reference, checked, components = open_run(given, syntax.command)
    import numpy as np
    import torch
    from rich.progress import Progress

    from unfold.evaluation.output_files import write_image
    from unfold.evaluation.scans import reconstruct_file
    from unfold.training.checkpoints.weights import load_weights

    net, seed = components.reconstructor, checked.settings.seed
    load_weights(net, reference.path)
    components.trainer.place(net)
    found = list(scan_of(given, components).read(path))
    with Progress(disable=not components.trainer.progress, transient=True) as bar:
        advance = partial(bar.advance, bar.add_task(syntax.command, total=steps))
        scores, makes, more, write = fit(Task(given, components, found, steps, rate, seed), advance)
    folder.mkdir(parents=True)
    use = write(folder)
    trained, output = ranges_of(reference.path), folder / "reconstruction.npy"
    pairs = ((make(), metadata) for make, (_, _, metadata) in zip(makes, found, strict=True))
    scores |= reconstruct_file(net, pairs, output, trained)
    images = torch.from_numpy(np.load(output))
    picture = images if images.ndim == 3 else images[0]
    write_image(output.with_suffix(".png"), picture / picture.abs().max())
    record = {
        "parent": {"path": str(reference.path), "weights": digest_of(str(reference.path), "")},
        "measurement": {"path": str(path), "sha256": files.sha256(path)},
        "overrides": list(given.overrides),
        "settings": {"steps": steps, "lr": rate, "seed": seed} | more,
        "scores": scores,
    }
    files.write_json(folder / f"{done}.json", record)
    scores_table(scores)
    say(f"{done}: {short(folder)}; unfold reconstruct run=RUN {use} uses it")
    return 0


def _positive(given: Arguments, key: str, default: str) -> float:
    text = given.keys.get(key, default)
    try:
        value = float(text)
        if 0 < value < 1e9 and (key == "lr" or value == int(value)):
            return value
    except ValueError:
        pass
    raise ConfigError(f"{key} = {text}: must be positive, and steps whole.")
