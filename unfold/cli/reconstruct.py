"""`unfold reconstruct run=DIR input=IMAGE`, or `measurement=FILE`: one image."""

from collections.abc import Sequence
from pathlib import Path

from unfold.cli.arguments import configured, existing_file, named_run, split
from unfold.cli.console import say, scores_table
from unfold.errors import ConfigError, nearest

OWN = ("run", "input", "measurement", "output")
"""The keys of the command itself."""


def reconstruct_image(words: Sequence[str]) -> int:
    """Reconstruct one image with a run's weights.

    `input` is an image that is measured by the run's physics first; `measurement` is reconstructed
    as it is.

    Raises:
        UnfoldError: the run or the file cannot be used.
    """
    own = split(words, OWN)
    image, measurement = existing_file(own, "input"), existing_file(own, "measurement")
    if (image is None) == (measurement is None):
        keys = [word.partition("=")[0] for word in own.overrides]
        meant = [
            f"{key} is not known{near}" for key in keys if "mean" in (near := nearest(key, OWN))
        ]
        raise ConfigError(
            "unfold reconstruct needs one file: input=IMAGE to simulate its measurement, or "
            f"measurement=FILE to reconstruct a real one. {' '.join(meant)}".strip()
        )
    reference = named_run(own, "reconstruct")
    checked = configured(reference, own.overrides)
    from unfold.cli.runtime import keep_freed_memory, set_threads
    from unfold.config.build import components_of
    from unfold.evaluation.single_image import (
        check_output,
        read_cropped,
        read_measurement,
        reconstruct_measured,
        reconstruct_simulated,
    )
    from unfold.training.checkpoints.weights import load_weights

    keep_freed_memory()
    parts = components_of(checked)
    if measurement is not None and not parts.physics.is_deterministic:
        raise ConfigError(
            f"measurement = {measurement}: the run's {type(parts.physics).__name__} draws its "
            "operator anew for every image, so the one that made this measurement must be named: "
            "physics.kernel=FILE for a blur, or a physics without ranges."
        )
    set_threads(parts.trainer.threads)
    load_weights(parts.reconstructor, reference.path)
    source = image or measurement
    assert source is not None
    output = Path(own.own.get("output", f"{source.stem}_reconstructed.png"))
    check_output(output)
    net, physics, data = parts.reconstructor, parts.physics, parts.data
    if image is not None:
        truth = read_cropped(image, data.channels, data.multiple_of)
        seed = checked.settings.seed
        scores = reconstruct_simulated(net, physics, truth, output, parts.metrics, seed)
    else:
        y = read_measurement(source, data.channels)
        scores = reconstruct_measured(net, physics, y, output)
    scores_table(scores)
    say(f"wrote {output}")
    return 0
