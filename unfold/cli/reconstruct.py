"""`unfold reconstruct run=DIR input=IMAGE`, or `measurement=FILE`: one image."""

from collections.abc import Sequence
from pathlib import Path

from unfold.cli.console import say, scores_table
from unfold.cli.evaluate import open_run
from unfold.config.arguments import Arguments, Syntax
from unfold.disk import expand
from unfold.errors import ConfigError, nearest
from unfold.runs.seal import MANIFEST

SYNTAX = Syntax(
    "reconstruct",
    "Reconstruct one image with the weights of a run.",
    keys={
        "run": "the run: its directory, or the end of its name",
        "input": "an image whose measurement is simulated",
        "measurement": "a measurement that is reconstructed as it is",
        "output": "the file to write",
    },
)


def reconstruct_image(arguments: Sequence[str]) -> int:
    """Reconstruct one image with the weights of a run."""
    given = SYNTAX.parse(arguments)
    image, measurement = _existing_file(given, "input"), _existing_file(given, "measurement")
    if (image is None) == (measurement is None):
        keys = [text.partition("=")[0] for text in given.overrides]
        near = {key: nearest(key, SYNTAX.keys) for key in keys}
        meant = [f"{key} is not known{text}" for key, text in near.items() if "mean" in text]
        raise ConfigError(
            "unfold reconstruct needs one file: input=IMAGE to simulate its measurement, or "
            f"measurement=FILE to reconstruct a real one. {' '.join(meant)}".strip()
        )
    reference, checked, components = open_run(given, "reconstruct")
    from unfold.evaluation import single_image as single
    from unfold.training.checkpoints.weights import load_weights

    if measurement is not None and not components.physics.is_deterministic:
        raise ConfigError(
            f"measurement = {measurement}: the run's {type(components.physics).__name__} samples "
            "an operator for every image, so the one that made this measurement must be named: "
            "physics.kernel=FILE for a blur, or a physics without ranges."
        )
    load_weights(components.reconstructor, reference.path)
    source = image or measurement
    assert source is not None
    output = single.new_output(given.keys.get("output"), source, simulated=image is not None)
    if sealed := next(
        (one for one in output.absolute().parents if (one / MANIFEST).is_file()), None
    ):
        raise ConfigError(
            f"output = {output}: {sealed} is a finished run, which its seal keeps as it is. Name a "
            "file elsewhere."
        )
    net, physics, data = components.reconstructor, components.physics, components.data
    stated = data.stated
    if image is not None:
        truth = single.read_cropped(image, data.channels, data.multiple, stated)
        seed = checked.settings.seed
        scores = single.reconstruct_simulated(net, physics, truth, output, components.metrics, seed)
    else:
        y = single.read_measurement(source, data.channels, stated)
        shape, model = single.read_geometry(source) or (None, "")
        if model and model != single.described(physics):
            raise ConfigError(
                f"measurement = {source}: measured by {model}, and the run has "
                f"{single.described(physics)}. Set physics to the first."
            )
        picture = source.suffix.lower() not in (".npy", ".npz") and stated is None
        operator = single.check_measured(y, physics, shape, data.channels, picture=picture)
        scores = single.reconstruct_measured(net, physics, operator, y, output)
    scores_table(scores)
    say(f"wrote {output}")
    return 0


def _existing_file(given: Arguments, key: str) -> Path | None:
    """The file that a key names; None where the key is not given."""
    if key not in given.keys:
        return None
    path = expand(given.keys[key], key)
    if path.is_dir():
        raise ConfigError(
            f"{key} = {path}: a folder, and one file is expected. Give its files one by one; "
            "unfold evaluate run=RUN data=folder data.test_root=DIR takes a folder of images."
        )
    if not path.is_file():
        raise ConfigError(f"{key} = {path}: there is no such file.")
    return path
