"""How long and on what a network is trained: the settings behind `trainer` and `logger`.

Frozen dataclasses without PyTorch, so that an invalid value is reported before it is imported.
"""

import math
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from unfold.errors import ConfigError, IncompatibleError
from unfold.machine import refusal
from unfold.parameters.bounds import Declared, Range, bounded, inside, positive, whole

if TYPE_CHECKING:
    import torch
    from lightning.pytorch.loggers import Logger

    from unfold.models.model import Model
    from unfold.reconstructor import Reconstructor
    from unfold.training.guard.guard import Guard

COUNT = whole(1)
STEPS = Range("a whole number of at least 1, or -1", lambda v: v == -1 or COUNT.holds(v))

SHORTEST = 10
"""Steps of the shortest interval between validations within an epoch."""


def refuse_variables() -> None:
    """Refuse the environment variables from which Lightning takes what is not configured.

    Raises:
        ConfigError: names them; they are no part of the name of a run.
    """
    if found := sorted(name for name in os.environ if name.startswith("PL_TRAINER_")):
        raise ConfigError(
            f"{', '.join(found)} in the environment would change the numbers and is not stored "
            "with the run. Unset it, and configure trainer."
        )


class Log(ABC):
    """Where the curves of a training go."""

    @abstractmethod
    def build(self, directory: Path) -> "Logger | None":
        """Lightning's logger for a run directory; None for no log."""


@dataclass(frozen=True)
class CSV(Log):
    """A table, `metrics.csv`, one row for each step; a resumed run appends to it."""

    def build(self, directory: Path) -> "Logger | None":
        from unfold.training.loggers.local import Curves

        return Curves(directory / "metrics.csv")


@dataclass(frozen=True)
class TensorBoard(Log):
    """Event files under `tensorboard`, for `tensorboard --logdir runs`."""

    def build(self, directory: Path) -> "Logger | None":
        from unfold.training.loggers.local import Events

        return Events(directory)


@dataclass(frozen=True)
class NoLog(Log):
    """No curves; the summary and the evaluation are still written."""

    def build(self, directory: Path) -> "Logger | None":
        return None


@dataclass(frozen=True)
class TrainerSettings(Declared):
    """How long, on what and how precisely a network is trained.

    Args:
        max_steps: optimizer steps; -1 to stop by `max_epochs` only.
        max_epochs: passes over the images; null to stop by `max_steps` only.
        accelerator: where the network runs.
        devices: devices of each machine, or processes on CPU.
        nodes: machines, each with as many devices; started by `torchrun` or `srun`.
        strategy: `auto` for one device; `ddp` for several.
        precision: `bf16` for the networks, operators and solvers in float32; `64` for
            everything, to tell rounding from a defect. Weights are kept in float32.
        channels_last: whether the networks get images in channels-last layout; null where it is
            faster: on CPUs with AVX-512.
        threads: of PyTorch; null for all CPUs that this process may use.
        gradient_clip: largest norm of the gradient; null for no limit.
        accumulate: batches whose gradients are summed before a step.
        shards: equal parts of a batch that one process computes in parallel, each on an equal
            share of its threads; as many processes give bit-identical results. null for 2 on CPU,
            where it is faster, and 1 elsewhere. Several processes compute one part each.
        validate_every: epochs between validations; null for every epoch, or for every quarter of
            the training where fewer than two epochs end before it does.
        log_every: steps between two rows of the log.
        checkpoint_every: steps between two checkpoints that a killed run resumes from.
        on_nonfinite: at a gradient that is not finite, `stop` the run or `skip` the step.
        nonfinite_limit: steps in a row that may be skipped before the run stops.
        on_unreached: at an equilibrium, or a gradient of one, that is not reached: `warn` once,
            count and take the step; or as `on_nonfinite`.
        unreached_limit: as `nonfinite_limit`.
        ema: decay of a moving average of the weights, which is validated and kept; null for none.
        early_stopping: validations without a better objective that end the training; null for no
            limit.
        log_gradient_norm: whether the norm of the gradient is logged, before it is clipped.
        images_every: epochs between two pictures of a validation image; null for none.
        progress: whether a progress bar is shown.
    """

    max_steps: int = bounded(450, STEPS)
    max_epochs: int | None = bounded(None, COUNT)
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    devices: int = bounded(1, COUNT)
    nodes: int = bounded(1, COUNT)
    strategy: Literal["auto", "ddp"] = "auto"
    precision: Literal["32", "bf16", "64"] = "32"
    channels_last: bool | None = None
    threads: int | None = bounded(None, COUNT)
    gradient_clip: float | None = bounded(1.0, positive)
    accumulate: int = bounded(1, COUNT, "in batches")
    shards: int | None = bounded(None, COUNT)
    validate_every: int | None = bounded(None, COUNT, "in epochs, or null")
    log_every: int = bounded(10, COUNT, "in steps")
    checkpoint_every: int = bounded(50, COUNT, "in steps")
    on_nonfinite: Literal["stop", "skip"] = "stop"
    nonfinite_limit: int = bounded(5, COUNT, "in steps")
    on_unreached: Literal["warn", "stop", "skip"] = "warn"
    unreached_limit: int = bounded(5, COUNT, "in steps")
    ema: float | None = bounded(None, inside("(0, 1)"), "or null")
    early_stopping: int | None = bounded(None, COUNT, "in validations")
    log_gradient_norm: bool = False
    images_every: int | None = bounded(None, COUNT, "in epochs")
    progress: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_steps == -1 and self.max_epochs is None:
            raise ConfigError(
                "max_epochs = null: needed where max_steps=-1, or training never ends."
            )
        count, several = self.processes, "nodes" if self.nodes > 1 else "devices"
        if count > 1 and self.strategy == "auto":
            raise ConfigError(
                f"{several} = {getattr(self, several)}: several {several} need strategy=ddp."
            )
        if self.shards is not None and 1 < count != self.shards:
            raise ConfigError(
                f"shards = {self.shards}: several processes compute one part of a batch each, so "
                f"it must be their number, {count}, or null."
            )

    def of_stages(self, steps: int, *, given: bool) -> "TrainerSettings":
        """The settings of a training in stages of so many steps together.

        `given` is whether `max_steps` was chosen though it has its default value.

        Raises:
            ConfigError: another end of the training was chosen.
        """
        own = type(self).max_steps
        if self.max_steps != steps and (given or self.max_steps != own):
            raise ConfigError(
                f"TrainerSettings.max_steps = {self.max_steps}: the stages have {steps} steps "
                "together. Leave it out, change their steps, or train without them, stages=none."
            )
        for name in ("max_epochs", "early_stopping"):
            if (value := getattr(self, name)) is not None:
                raise ConfigError(
                    f"TrainerSettings.{name} = {value}: stages end by their steps and by the "
                    "patience of each. Leave it out, or train without stages, stages=none."
                )
        return replace(self, max_steps=steps)

    @property
    def processes(self) -> int:
        """How many share a batch, on all machines."""
        return self.devices * self.nodes

    def validation(self, batches: int) -> tuple[int | None, int | None]:
        """Epochs, or else batches, between validations, where an epoch has so many batches."""
        epoch = max(1, batches // self.accumulate)
        ends = (self.max_steps, (self.max_epochs or 0) * epoch)
        total = min(end for end in ends if end > 0)
        quarter = max(SHORTEST, math.ceil(total / 4))
        if self.validate_every is not None or (total - 1) // epoch >= 2 or quarter >= epoch:
            return self.validate_every or 1, None
        return None, quarter * self.accumulate

    def parts(self, batch_size: int) -> int:
        """How many parts one process computes its share of a batch in.

        Raises:
            ConfigError: the processes, or `shards`, do not divide the batch.
        """
        count, name = self.processes, "devices" if self.nodes == 1 else "devices x nodes"
        if count == 1 and self.shards is not None:
            count, name = self.shards, "shards"
        if batch_size % count:
            raise ConfigError(
                f"TrainerSettings.{name} = {count}: must divide the batch size, {batch_size}."
            )
        if self.processes > 1:
            return 1
        if self.shards is not None:
            return self.shards
        import torch

        slow = self.accelerator == "cpu" or not torch.accelerator.is_available()
        return 2 if slow and batch_size % 2 == 0 else 1

    def guard(self) -> "Guard":
        """Handles steps with non-finite numbers or equilibria that were not reached."""
        from unfold.training.guard.guard import Guard, policy

        return Guard(
            policy(self.on_nonfinite, self.nonfinite_limit),
            policy(self.on_unreached, self.unreached_limit),
        )

    def wants_channels_last(self) -> bool:
        """Whether the networks are kept in channels-last layout on this machine."""
        if self.channels_last is not None:
            return self.channels_last
        import torch

        # Measured for DnCNN on CPU: 0.80 to 0.87 of the time with AVX-512, 1.18 of it with AVX2.
        return torch.backends.cpu.get_cpu_capability().startswith("AVX512")

    @property
    def device(self) -> "torch.device":
        """Where a single process runs, as Lightning chooses it."""
        import torch

        if self.accelerator != "cpu" and torch.backends.mps.is_available():
            return torch.device("mps")
        cuda = self.accelerator in ("auto", "gpu") and torch.cuda.is_available()
        return torch.device("cuda" if cuda else "cpu")

    def place(self, net: "Reconstructor") -> "Reconstructor":
        """A network where it runs, and in double precision where all is."""
        return (net.double() if self.precision == "64" else net).to(self.device)

    def check_model(self, model: "Model") -> None:
        """Refuse `on_unreached` where it would never apply."""
        from unfold.models.deq import DEQ

        if self.on_unreached == "warn":
            return
        field = f"TrainerSettings.on_unreached = {self.on_unreached}"
        if not model.needs_contraction:
            raise IncompatibleError(
                f"{field}: only an equilibrium can be missed, and the model is "
                f"{type(model).__name__}. Leave it out, or use {{model}}.",
                model=DEQ,
            )
        if model.refuses_inexact_gradients and self.on_unreached != "stop":
            raise ConfigError(
                f"{field}: with on_divergence=error a gradient that is not reached ends the "
                "training before the policy is asked. Set on_divergence=warn in the backward pass "
                "of the model."
            )

    def check_devices(self) -> None:
        """Refuse devices, processes and threads that this machine has not, and variables."""
        refuse_variables()
        for name, least in (("devices", 8), ("threads", 64), ("shards", 64)):
            if why := refusal(getattr(self, name), least, name):
                raise ConfigError(f"TrainerSettings.{name} = {getattr(self, name)}: {why}")
        if self.accelerator != "gpu":
            return
        import torch

        found = torch.cuda.device_count() or int(torch.backends.mps.is_available())
        if found == 0:
            raise ConfigError(
                "TrainerSettings.accelerator = gpu: PyTorch finds no GPU on this machine. Set "
                "accelerator=cpu, or run on a machine with a GPU."
            )
        if found < self.devices:
            raise ConfigError(
                f"TrainerSettings.devices = {self.devices}: PyTorch finds {found} on this machine. "
                f"Set devices={found}, or nodes for several machines."
            )
