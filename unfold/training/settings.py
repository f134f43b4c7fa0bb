"""How long and on what a network is trained: the recipes behind `trainer` and `logger`.

They are frozen dataclasses whose arguments are spelled out, so that a mistake is found, with the
nearest name, before Lightning is imported.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from unfold.errors import ConfigError
from unfold.training.checks import positive, refuse
from unfold.training.processes import check_processes

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from unfold.training.guard.guard import Guard


class Log(ABC):
    """A recipe of where the curves of a training go."""

    @abstractmethod
    def build(self, directory: Path) -> "Logger | None":
        """Lightning's logger, writing into a run directory; None for no log."""


@dataclass(frozen=True)
class CSV(Log):
    """A table, `metrics.csv`, one row for each step; a run that is continued goes on in it."""

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
    """No curves; the summary and the evaluation are written all the same."""

    def build(self, directory: Path) -> "Logger | None":
        return None


@dataclass(frozen=True)
class TrainerSettings:
    """How long, on what and how precisely a network is trained.

    Args:
        max_steps: steps of the optimiser; -1 to stop by `max_epochs` alone.
        max_epochs: passes over the images; null to stop by `max_steps` alone.
        accelerator: where the network runs.
        devices: how many devices of each machine, or how many processes on CPU.
        nodes: machines, each with as many devices; the same command is started on each.
        strategy: `auto` for one device; for several, `ddp`, or `fsdp`, where each keeps a part of
            every network and of its moments alone.
        precision: `bf16` for the networks alone, beside operators and solvers in float32; `64` for
            everything, to tell rounding from a mistake. Weights are kept in float32.
        channels_last: whether the networks see images in channels-last layout; null where it is
            faster: on CPUs with AVX-512.
        threads: of PyTorch; null for all CPUs that this process may use.
        gradient_clip: largest norm of the gradient; null for no limit.
        accumulate: batches whose gradients are added up before a step.
        shards: equal parts of a batch that one process computes side by side, on an equal share
            of its threads: as many processes then train with the same bits. null for 2 on CPU,
            where it is faster, and 1 elsewhere. Several processes compute one part each.
        validate_every: epochs between validations.
        log_every: steps between two rows of the log.
        checkpoint_every: steps between two states that a killed run can go on from.
        on_nonfinite: at a gradient that is not finite, `stop`, `skip` the step, or `rollback` to
            the newest state and go on with learning rates halved.
        nonfinite_limit: steps in a row that are skipped, or times it goes back, before it stops.
        on_unreached: at an equilibrium, or a gradient of one, that is not reached: `warn` once,
            count and go on; or as `on_nonfinite`.
        unreached_limit: as `nonfinite_limit`.
        ema: decay of a moving average of the weights, which is validated and kept; null for none.
        early_stopping: validations without a better objective that end it; null for no end.
        log_gradient_norm: whether the norm of the gradient is logged, before it is clipped.
        images_every: epochs between two pictures of a validation image; null for none.
        progress: whether a progress bar is shown.
    """

    max_steps: int = 1000
    max_epochs: int | None = None
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    precision: Literal["32", "bf16", "64"] = "32"
    channels_last: bool | None = None
    threads: int | None = None
    gradient_clip: float | None = 1.0
    accumulate: int = 1
    shards: int | None = None
    validate_every: int = 1
    log_every: int = 10
    checkpoint_every: int = 50
    on_nonfinite: Literal["stop", "skip", "rollback"] = "stop"
    nonfinite_limit: int = 5
    on_unreached: Literal["warn", "stop", "skip", "rollback"] = "warn"
    unreached_limit: int = 5
    ema: float | None = None
    early_stopping: int | None = None
    log_gradient_norm: bool = False
    images_every: int | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        steps = self.max_steps
        refuse("max_steps", steps, unless=steps >= 1 or steps == -1, must="1 or above, or -1")
        for name in (
            "max_epochs",
            "devices",
            "nodes",
            "threads",
            "accumulate",
            "shards",
            "validate_every",
            "log_every",
            "checkpoint_every",
            "nonfinite_limit",
            "unreached_limit",
            "early_stopping",
            "images_every",
        ):
            value = getattr(self, name)
            refuse(name, value, unless=value is None or value >= 1, must="1 or above")
        if self.gradient_clip is not None:
            positive("gradient_clip", self.gradient_clip)
        inside = self.ema is None or 0 < self.ema < 1
        refuse("ema", self.ema, unless=inside, must="in (0, 1), or null")
        if steps == -1 and self.max_epochs is None:
            raise ConfigError("max_epochs = null: needed where max_steps=-1, or nothing ends it.")
        check_processes(self)

    @property
    def goes_back(self) -> bool:
        """Whether a mishap may lead back to an earlier state."""
        return "rollback" in (self.on_nonfinite, self.on_unreached)

    @property
    def processes(self) -> int:
        """How many share a batch, on all machines."""
        return self.devices * self.nodes

    def parts(self, batch_size: int) -> int:
        """How many parts one process computes its share of a batch in.

        Raises:
            ConfigError: the processes, or `shards`, do not divide the batch.
        """
        if self.processes > 1:
            name = "devices" if self.nodes == 1 else "devices x trainer.nodes"
            fits = batch_size % self.processes == 0
            must = f"a divisor of data.batch_size = {batch_size}, which is shared among them"
            refuse(f"trainer.{name}", self.processes, unless=fits, must=must)
            return 1
        if self.shards is not None:
            fits = batch_size % self.shards == 0
            must = f"a divisor of data.batch_size = {batch_size}"
            refuse("trainer.shards", self.shards, unless=fits, must=must)
            return self.shards
        import torch

        slow = self.accelerator == "cpu" or not torch.accelerator.is_available()
        return 2 if slow and batch_size % 2 == 0 else 1

    def guard(self) -> "Guard":
        """What to do at a step that is not to be trusted."""
        from unfold.training.guard.guard import Guard
        from unfold.training.guard.policies import policy

        return Guard(
            policy(self.on_nonfinite, self.nonfinite_limit),
            policy(self.on_unreached, self.unreached_limit),
        )

    def wants_channels_last(self) -> bool:
        """Whether the networks are kept in channels-last layout on this machine."""
        if self.channels_last is not None or self.strategy == "fsdp":
            return bool(self.channels_last)
        import torch

        # Measured for DnCNN on CPU: 0.80 to 0.87 of the time with AVX-512, 1.18 of it with AVX2.
        return torch.backends.cpu.get_cpu_capability().startswith("AVX512")
