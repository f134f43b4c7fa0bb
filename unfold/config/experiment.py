"""`unfold.build("algo=admm")` and `unfold.load(RUN)`: what a command would build, for notebooks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unfold.config.build import components_of, configure
from unfold.config.stored_run import configured
from unfold.runs.catalogue import read_reference

if TYPE_CHECKING:
    from unfold.physics.base import Physics
    from unfold.physics.operator import Operator
    from unfold.reconstructor import Reconstructor
    from unfold.typing import Image, Measurement


@dataclass(frozen=True)
class Experiment:
    """A configuration as objects; called like its reconstructor, `experiment(y, operator)`.

    `config` is as a run stores it; `scores` are of a finished run, and empty before training.
    """

    reconstructor: "Reconstructor"
    physics: "Physics"
    config: Mapping[str, Any]
    scores: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, y: "Measurement", operator: "Operator | Physics") -> "Image":
        """The image behind y, of the noise level that the physics of the experiment knows."""
        from unfold.physics.operator import Operator

        level = None
        if isinstance(operator, Operator):
            level = self.physics.known_level(y, operator)
        image: Image = self.reconstructor(y, operator, noise_level=level)
        return image


def build(*overrides: str) -> Experiment:
    """Compose and build one configuration, as `unfold train` does before it trains.

    Raises:
        ConfigError: lists every mistake in the overrides.
    """
    checked = configure(overrides)
    components = components_of(checked)
    return Experiment(components.reconstructor, components.physics, checked.job.stored)


def load(run: str | Path, *overrides: str, runs_dir: str | Path = "runs") -> Experiment:
    """A run with its best weights: its reconstructor, forward model, configuration and scores.

    Args:
        run: its directory, its path in `runs_dir`, or the end of it.
        overrides: of its configuration, as `unfold evaluate` takes them; `trust=[mypkg]`.
        runs_dir: the folder of all runs.

    Raises:
        ConfigError: there is no such run; names the nearest.
        RunError: a file of it is not as it was when it finished.
        CheckpointError: it has no weights yet, or an override makes another model of it.
    """
    reference = read_reference(str(run), runs_dir)
    checked = configured(reference, overrides)
    components = components_of(checked)
    from unfold.training.checkpoints.weights import keep_channels_last, load_weights

    reconstructor = components.reconstructor
    if components.trainer.wants_channels_last():
        keep_channels_last(reconstructor)
    load_weights(reconstructor, reference.path)
    reconstructor.eval()
    return Experiment(reconstructor, components.physics, checked.job.stored, reference.scores)
