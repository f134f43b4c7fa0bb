"""`unfold adapt` and `unfold calibrate`: fit a run, or its operator, to one measured file."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from unfold.cli.console import say, scores_table, short
from unfold.cli.evaluate import open_run
from unfold.cli.reconstruct import expect_new, ranges_of, scan_of
from unfold.config.arguments import Arguments, Syntax
from unfold.disk import expand
from unfold.errors import ConfigError
from unfold.runs import files
from unfold.runs.identity import digest_of

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


def adapt_run(arguments: Sequence[str]) -> int:
    """Fine-tune on one file, into a folder that names the run, and reconstruct the file."""
    return _run(ADAPT.parse(arguments), "adapt")


def calibrate_run(arguments: Sequence[str]) -> int:
    """Fit the operator to one file, into a folder that names the run, and reconstruct the file."""
    return _run(CALIBRATE.parse(arguments), "calibrate")


def _run(given: Arguments, command: str) -> int:
    path = expand(given.keys.get("measurement", ""), "measurement")
    if not path.is_file():
        raise ConfigError(f"measurement = {path}: no such file; give measurement=FILE.")
    done = command.removesuffix("e") + "ed"
    folder = expand(given.keys.get("output", f"{path.stem}_{done}"), "output")
    steps = int(_positive(given, "steps", "200"))
    lr = _positive(given, "lr", "5e-4" if command == "adapt" else "5e-2")
    expect_new(folder)
    reference, checked, components = open_run(given, command)
    import numpy as np
    import torch
    from rich.progress import Progress

    from unfold.evaluation.output_files import write_image
    from unfold.evaluation.scans import reconstruct_file
    from unfold.parameters.select import Trainable
    from unfold.reconstructor import learn_physics
    from unfold.training import adapt
    from unfold.training.checkpoints.weights import load_weights, save_weights

    net, seed = components.reconstructor, checked.settings.seed
    load_weights(net, reference.path)
    found = list(scan_of(given, components).read(path))
    makes = [partial(make, own) for own, make, _ in found]
    settings: dict[str, object] = {"steps": steps, "lr": lr, "seed": seed}
    values = None
    if command == "calibrate":
        learn = [name for name in given.keys.get("learn", "").strip("[]").split(",") if name]
        own, values = learn_physics(found[0][0], Trainable(learn), simulates=False)
        makes = [partial(make, replace(one, learned=own.learned)) for one, make, _ in found]
        settings["learn"] = learn
    else:
        settings["keep"] = keep = getattr(components.loss, "keep", 0.6)  # of loss=splitting
    with Progress(disable=not components.trainer.progress, transient=True) as bar:
        task = bar.add_task(command, total=steps)
        advance = partial(bar.advance, task)
        if values is None:
            cases = [make() for make in makes]
            scores = adapt.adapt(net, cases, steps, lr, seed, keep, advance)
        else:
            scores = adapt.calibrate(net, makes, values, steps, lr, seed, advance)
    folder.mkdir(parents=True)
    use = f"weights={short(folder)}"
    if values is None:
        save_weights(net, folder)
    else:
        use = ""
        for name in values.plans:
            value = values.value(name).detach().cpu().squeeze(0).numpy()
            np.save(folder / f"{name}.npy", value)
            shown = f"{short(folder / name)}.npy" if value.ndim else f"{value:.4g}"
            use += f" physics.{name}={shown}"
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
        "settings": settings,
        "scores": scores,
    }
    files.write_json(folder / f"{done}.json", record)
    scores_table(scores)
    say(f"{done}: {short(folder)}; unfold reconstruct run=RUN {use.strip()} uses it")
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
