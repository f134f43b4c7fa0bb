"""`unfold.build("algo=admm", "prior=dncnn")`: what a command would build, for notebooks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from unfold.config.build import components_of, configure

if TYPE_CHECKING:
    from unfold.physics.base import Physics
    from unfold.physics.operator import Operator
    from unfold.reconstructor import Reconstructor
    from unfold.typing import Image, Measurement


@dataclass(frozen=True)
class Experiment:
    """A configuration as objects; called like its reconstructor, `experiment(y, operator)`.

    Args:
        reconstructor: algorithm, prior, fidelity, model and start together.
        physics: the forward model.
        config: the configuration, as a run stores it.
        scores: of a finished run, by name; empty before training.
    """

    reconstructor: "Reconstructor"
    physics: "Physics"
    config: Mapping[str, Any]
    scores: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, y: "Measurement", operator: "Operator | Physics") -> "Image":
        """The image behind y."""
        image: Image = self.reconstructor(y, operator)
        return image


def build(*overrides: str) -> Experiment:
    """Compose and build one configuration, as `unfold train` does before it trains.

    Args:
        overrides: as on the command line, `algo=admm`, `prior.sigma=0.1`.

    Raises:
        ConfigError: lists every mistake in them.
    """
    checked = configure(overrides)
    components = components_of(checked)
    return Experiment(components.reconstructor, components.physics, checked.job.stored)
