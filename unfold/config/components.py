"""The objects that a run is made of."""

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from unfold.algorithms.algorithm import Algorithm
    from unfold.data.dataset import Data
    from unfold.evaluation.base import Evaluation
    from unfold.evaluation.metrics import ImageMetrics
    from unfold.fidelities.fidelity import Fidelity
    from unfold.initialization import Start
    from unfold.models.model import Model
    from unfold.physics.base import Physics
    from unfold.priors.prior import Prior
    from unfold.reconstructor import Reconstructor
    from unfold.training.losses import Loss
    from unfold.training.optim import Optimizer, Scheduler
    from unfold.training.settings import Log, TrainerSettings


class Components(NamedTuple):
    """Everything that a run is made of: the object of each group, and what they make together.

    reconstructor: algorithm, prior, fidelity, model and start together.
    origins: a sentence for each denoiser on where its weights start.
    """

    algo: "Algorithm[Any]"
    prior: "Prior"
    physics: "Physics"
    fidelity: "Fidelity"
    model: "Model"
    start: "Start"
    data: "Data"
    loss: "Loss"
    optimizer: "Optimizer"
    scheduler: "Scheduler"
    trainer: "TrainerSettings"
    logger: "Log"
    metrics: "ImageMetrics"
    evaluation: "Evaluation"
    reconstructor: "Reconstructor"
    origins: tuple[str, ...] = ()
