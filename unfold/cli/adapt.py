"""`unfold adapt` and `unfold calibrate`: fit a run, or its operator, to one measured file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from unfold.cli.console import say, scores_table, short
from unfold.cli.evaluate import open_run
from unfold.cli.reconstruct import expect_new, ranges_of, scan_of
from unfold.config.arguments import Arguments, Syntax
from unfold.config.check import Components
from unfold.disk import expand
from unfold.errors import ConfigError
from unfold.runs import files
from unfold.runs.identity import digest_of

if TYPE_CHECKING:
    from unfold.evaluation.scans import Taken
    from unfold.training.adapt import Effort

KEYS = {
    "run": "the run: its directory, or the end of its name",
    "measurement": "the measured file",
    "boundary": "circular: a blur is periodic, as trained; else a photograph is not",
    "steps": "of training, by default 200; the best of them is kept",
}
ADAPT = Syntax(
    "adapt",
    "Fine-tune the weights of a run on one measured file, without a true image.",
    keys={
        **KEYS,
        "output": "the folder to make, by default FILE_adapted: weights, reconstruction, figures",
        "lr": "the learning rate, by default 5e-4",
    },
)
CALIBRATE = Syntax(
    "calibrate",
    "Fit parameters of the operator to one measured file, with the weights of a run fixed.",
    keys={
        **KEYS,
        "learn": "the parameters, such as [physics.kernel]",
        "output": "the folder to make, by default FILE_calibrated: parameters, reconstruction",
        "lr": "the learning rate, by default 5e-2",
    },
)


class Fitted(NamedTuple):
    """What a fit found.

    taken: the measurements, with their operators as they are now.
    scores: before and after.
    settings: besides steps, learning rate and seed.
    write: what was found, into a folder; returns how it is used.
    """

    taken: "Sequence[Taken]"
    scores: dict[str, float]
    settings: dict[str, Any]
    write: Callable[[Path], str]


Method = Callable[[Arguments, Components, "list[Taken]", "Effort"], Fitted]


def adapt_run(arguments: Sequence[str]) -> int:
    """Fine-tune on one file, into a folder that names the run, and reconstruct the file."""
    return _run(ADAPT, arguments, "adapted", "5e-4", _adapt)


def calibrate_run(arguments: Sequence[str]) -> int:
    """Fit parameters of the operator to one file, and reconstruct it with them."""
    return _run(CALIBRATE, arguments, "calibrated", "5e-2", _calibrate)


def _run(syntax: Syntax, arguments: Sequence[str], done: str, rate: str, method: Method) -> int:
    given = syntax.parse(arguments)
    path = expand(given.keys.get("measurement", ""), "measurement")
    if not path.is_file():
        raise ConfigError(f"measurement = {path}: no such file; give measurement=FILE.")
    folder = expand(given.keys.get("output", f"{path.stem}_{done}"), "output")
    steps, lr = int(_positive(given, "steps", "200")), _positive(given, "lr", rate)
    expect_new(folder)
    reference, checked, components = open_run(given, syntax.command)
    import torch
    from rich.progress import Progress

    from unfold.evaluation.output_files import write_image
    from unfold.evaluation.scans import reconstruct_file
    from unfold.training.adapt import Effort
    from unfold.training.checkpoints.weights import load_weights

    net, seed = components.reconstructor, checked.settings.seed
    load_weights(net, reference.path)
    taken = list(scan_of(given, components).read(path))
    with Progress(disable=not components.trainer.progress, transient=True) as bar:
        task = bar.add_task(syntax.command, total=steps)
        effort = Effort(steps, lr, seed, lambda: bar.advance(task))
        found = method(given, components, taken, effort)
    folder.mkdir(parents=True)
    use, trained = found.write(folder), ranges_of(reference.path)
    output = folder / "reconstruction.npy"
    scores = found.scores | reconstruct_file(net, found.taken, output, trained)
    images = torch.from_numpy(np.load(output))
    picture = images if images.ndim == 3 else images[0]
    write_image(output.with_suffix(".png"), picture / picture.abs().max())
    record = {
        "parent": {"path": str(reference.path), "weights": digest_of(str(reference.path), "")},
        "measurement": {"path": str(path), "sha256": files.sha256(path)},
        "overrides": list(given.overrides),
        "settings": {"steps": steps, "lr": lr, "seed": seed, **found.settings},
        "scores": scores,
    }
    files.write_json(folder / f"{done}.json", record)
    scores_table(scores)
    say(f"{done}: {short(folder)}; unfold reconstruct run=RUN {use} uses it")
    return 0


def _adapt(_: Arguments, components: Components, taken: "list[Taken]", effort: "Effort") -> Fitted:
    from unfold.training.adapt import adapt
    from unfold.training.checkpoints.weights import save_weights

    net, keep = components.reconstructor, getattr(components.loss, "keep", 0.6)  # of splitting
    scores = adapt(net, [one.case() for one in taken], effort, keep)

    def write(folder: Path) -> str:
        save_weights(net, folder)
        return f"weights={short(folder)}"

    return Fitted(taken, scores, {"keep": keep}, write)


def _calibrate(
    given: Arguments, components: Components, taken: "list[Taken]", effort: "Effort"
) -> Fitted:
    from dataclasses import replace

    from unfold.parameters.select import Trainable
    from unfold.reconstructor import learn_physics
    from unfold.training.adapt import calibrate

    learn = [name for name in given.keys.get("learn", "").strip("[]").split(",") if name]
    physics, values = learn_physics(taken[0].physics, Trainable(learn), simulates=False)
    own = [one._replace(physics=replace(one.physics, learned=physics.learned)) for one in taken]
    scores = calibrate(components.reconstructor, own, values, effort)

    def write(folder: Path) -> str:
        found = {name: values.value(name).detach().cpu().squeeze(0) for name in values.plans}
        for name, value in found.items():
            np.save(folder / f"{name}.npy", value.numpy())
        return " ".join(
            f"physics.{name}={short(folder / name)}.npy"
            if value.ndim
            else f"physics.{name}={value:.4g}"
            for name, value in found.items()
        )

    return Fitted(own, scores, {"learn": learn}, write)


def _positive(given: Arguments, key: str, default: str) -> float:
    text = given.keys.get(key, default)
    try:
        value = float(text)
        if 0 < value < 1e9 and (key == "lr" or value == int(value)):
            return value
    except ValueError:
        pass
    raise ConfigError(f"{key} = {text}: must be positive, and steps whole.")
