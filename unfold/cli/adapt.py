"""`unfold adapt run=RUN measurement=FILE`: fine-tune the weights of a run on one scan alone."""

from collections.abc import Sequence
from pathlib import Path

from unfold.cli.console import say, scores_table, short
from unfold.cli.evaluate import open_run
from unfold.cli.reconstruct import border_of, expect_outside_runs, ranges_of, stated
from unfold.config.arguments import Arguments, Syntax
from unfold.disk import expand
from unfold.errors import ConfigError
from unfold.runs import files
from unfold.runs.identity import digest_of

SYNTAX = Syntax(
    "adapt",
    "Fine-tune the weights of a run on one measured file, without a true image.",
    keys={
        "run": "the run: its directory, or the end of its name",
        "measurement": "the measured file",
        "output": "the folder to make, by default FILE_adapted: weights, reconstruction, figures",
        "steps": "of training, by default 200; the best of them is kept",
        "lr": "the learning rate, by default 5e-4",
        "boundary": "circular: a blur is periodic, as stated; else a photograph goes on beyond y",
    },
)


def adapt_run(arguments: Sequence[str]) -> int:
    """Fine-tune on one file, into a folder that names the run, and reconstruct the file."""
    given = SYNTAX.parse(arguments)
    if "measurement" not in given.keys:
        raise ConfigError("unfold adapt needs measurement=FILE, a measured file.")
    path = expand(given.keys["measurement"], "measurement")
    folder = expand(given.keys.get("output", f"{path.stem}_adapted"), "output")
    steps, lr = int(_number(given, "steps", 200)), _number(given, "lr", 5e-4)
    if not path.is_file():
        raise ConfigError(f"measurement = {path}: there is no such file.")
    if folder.exists():
        raise ConfigError(f"output = {folder}: exists, and is not replaced. Name another folder.")
    expect_outside_runs(folder)
    reference, checked, components = open_run(given, "adapt")
    from rich.progress import Progress

    from unfold.data.measured import MeasuredData
    from unfold.evaluation import scans
    from unfold.training.adapt import adapt
    from unfold.training.checkpoints.weights import load_weights, save_weights
    from unfold.training.losses import Splitting

    net, data, loss = components.reconstructor, components.data, components.loss
    if not isinstance(data, MeasuredData):
        raise ConfigError(
            f"measurement = {path}: the run's data are images. Say how the file is read: "
            "data=kspace, data=sinogram or data=pairs."
        )
    load_weights(net, reference.path)
    physics, border = border_of(given, components.physics)
    found = list(scans.cases(physics, data, path, stated(given)))
    keep = {"keep": loss.keep} if isinstance(loss, Splitting) else {}
    with Progress(disable=not components.trainer.progress, transient=True) as bar:
        task = bar.add_task("adapting", total=steps)
        result = adapt(
            net,
            [case for case, _ in found],
            steps,
            lr,
            checked.settings.seed,
            progress=lambda: bar.advance(task),
            **keep,
        )
    folder.mkdir(parents=True)
    save_weights(net, folder)
    trained, output = ranges_of(reference.path), folder / "reconstruction.npy"
    scores = scans.reconstruct_file(net, iter(found), output, trained, border=border)
    scores |= {"held out before": result.before, "held out": result.best, "best step": result.step}
    record = {
        "parent": str(reference.path.resolve()),
        "parent_weights": digest_of(str(reference.path), ""),
        "measurement": str(path.resolve()),
        "sha256": files.sha256(path),
        "overrides": list(given.overrides),
        "settings": {"steps": steps, "lr": lr, "seed": checked.settings.seed, **keep},
        "scores": scores,
    }
    files.write_json(folder / "adapted.json", record)
    scores_table(scores)
    say(f"adapted {short(reference.path)} to {path.name}: {short(folder)}; {use(path, folder)}")
    return 0


def use(path: Path, folder: Path) -> str:
    """How the adapted weights are used again."""
    return f"unfold reconstruct run=RUN weights={short(folder)} measurement={path.name}"


def _number(given: Arguments, key: str, default: float) -> float:
    text = given.keys.get(key, str(default))
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9 or (key == "steps" and value != int(value)):
        raise ConfigError(f"{key} = {text}: a positive number is expected, whole for steps.")
    return value
