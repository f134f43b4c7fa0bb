"""`unfold adapt run=RUN measurement=FILE`: fine-tune the weights of a run on one scan alone."""

from collections.abc import Sequence

from unfold.cli.console import say, scores_table, short
from unfold.cli.evaluate import open_run
from unfold.cli.reconstruct import expect_new, ranges_of, scan_of
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
        "boundary": "circular: a blur is periodic, as trained; else a photograph is not",
    },
)


def adapt_run(arguments: Sequence[str]) -> int:
    """Fine-tune on one file, into a folder that names the run, and reconstruct the file."""
    given = SYNTAX.parse(arguments)
    path = expand(given.keys.get("measurement", ""), "measurement")
    if not path.is_file():
        raise ConfigError(f"measurement = {path}: no such file; give measurement=FILE.")
    folder = expand(given.keys.get("output", f"{path.stem}_adapted"), "output")
    steps, lr = int(_positive(given, "steps", "200")), _positive(given, "lr", "5e-4")
    expect_new(folder)
    reference, checked, components = open_run(given, "adapt")
    from rich.progress import Progress

    from unfold.evaluation.scans import reconstruct_file
    from unfold.training.adapt import adapt
    from unfold.training.checkpoints.weights import load_weights, save_weights

    net, seed = components.reconstructor, checked.settings.seed
    load_weights(net, reference.path)
    scan = scan_of(given, components)
    found = list(scan.cases(path))
    keep = getattr(components.loss, "keep", 0.6)  # of loss=splitting
    with Progress(disable=not components.trainer.progress, transient=True) as bar:
        task = bar.add_task("adapting", total=steps)
        cases = [case for case, _ in found]
        scores = adapt(net, cases, steps, lr, seed, keep, lambda: bar.advance(task))
    folder.mkdir(parents=True)
    save_weights(net, folder)
    trained, output = ranges_of(reference.path), folder / "reconstruction.npy"
    scores |= reconstruct_file(net, found, output, trained)
    record = {
        "parent": {"path": str(reference.path), "weights": digest_of(str(reference.path), "")},
        "measurement": {"path": str(path), "sha256": files.sha256(path)},
        "overrides": list(given.overrides),
        "settings": {"steps": steps, "lr": lr, "seed": seed, "keep": keep},
        "scores": scores,
    }
    files.write_json(folder / "adapted.json", record)
    scores_table(scores)
    say(f"adapted: {short(folder)}; unfold reconstruct run=RUN weights={short(folder)} uses it")
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
