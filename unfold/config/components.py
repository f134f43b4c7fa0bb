"""The objects that a run is made of."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from unfold.data.image_data import ImageData
    from unfold.evaluation.base import Evaluation
    from unfold.physics.base import Physics
    from unfold.reconstructor import Reconstructor
    from unfold.training.losses import Loss
    from unfold.training.settings import Log, TrainerSettings


class Components(NamedTuple):
    """Everything that a run is made of.

    groups: the object of each group.
    reconstructor: algorithm, prior, fidelity, model and start together.
    origins: a sentence for each denoiser on where its weights start.
    """

    groups: Mapping[str, Any]
    reconstructor: "Reconstructor"
    origins: tuple[str, ...] = ()

    @property
    def physics(self) -> "Physics":
        """The forward model that is trained on."""
        physics: Physics = self.groups["physics"]
        return physics

    @property
    def data(self) -> "ImageData":
        """The images."""
        data: ImageData = self.groups["data"]
        return data

    @property
    def loss(self) -> "Loss":
        """What training minimizes."""
        loss: Loss = self.groups["loss"]
        return loss

    @property
    def trainer(self) -> "TrainerSettings":
        """How long and on what the reconstructor is trained."""
        trainer: TrainerSettings = self.groups["trainer"]
        return trainer

    @property
    def log(self) -> "Log":
        """Where the curves are written."""
        log: Log = self.groups["logger"]
        return log

    @property
    def metrics(self) -> Any:
        """What is measured of each image."""
        return self.groups["metrics"]

    @property
    def evaluation(self) -> "Evaluation":
        """What is measured after training."""
        evaluation: Evaluation = self.groups["evaluation"]
        return evaluation
