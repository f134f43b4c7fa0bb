"""The LightningModule: measure, reconstruct, compare; independent of the algorithm."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn

from unfold.data.example import Batch
from unfold.errors import ConvergenceError
from unfold.evaluation.metrics import ImageMetrics
from unfold.evaluation.set_metrics import SET_MEASURES
from unfold.models.model import Solution
from unfold.physics.base import Physics
from unfold.physics.denoising import Denoising
from unfold.physics.noise.base import Gaussian
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.reconstructor import Reconstructor
from unfold.solvers.result import SolveReport, watched
from unfold.training.course import Course, moves_of
from unfold.training.guard.failures import (
    backward_metrics,
    forward_metrics,
    locate_nonfinite,
    solve_metrics,
)
from unfold.training.guard.guard import Guard
from unfold.training.losses import Loss, Trial
from unfold.training.optim import (
    Optimizer,
    Scheduler,
    by_learning_rate,
    check_first_gradient,
    frozen,
)
from unfold.training.shards import Part, Shards, add_gradients
from unfold.training.stages import Stage
from unfold.typing import Measurement


@dataclass(frozen=True)
class TrainingOptions:
    """How a module trains.

    Args:
        seed: of every draw.
        strict: whether an equilibrium that was not reached in validation is an error.
        log_every: steps between two rows of the log.
        shards: equal parts that a batch is computed in, each with its own backward pass, as so
            many processes would; the sums are then bit-identical.
        lr: learning rates of parameters, by globs on names.
        freeze: epochs that parameters stay frozen for, by globs on names.
        stages: of the training; none where all is trained together.
    """

    seed: int
    strict: bool = False
    log_every: int = 10
    shards: int = 1
    lr: Mapping[str, float] = field(default_factory=dict)
    freeze: Mapping[str, int] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()


class Training(pl.LightningModule):
    """Trains one reconstructor with one forward model.

    Args:
        physics: the forward model and its noise, sampled anew for every image and epoch.
        metrics: of the validation images.
        guard: handles steps with invalid gradients; the default one if not given.
    """

    def __init__(
        self,
        reconstructor: Reconstructor,
        physics: Physics,
        loss: Loss,
        optimizer: Optimizer,
        scheduler: Scheduler,
        metrics: ImageMetrics,
        options: TrainingOptions,
        guard: Guard | None = None,
    ) -> None:
        super().__init__()
        self.reconstructor = reconstructor
        self.physics, self.loss, self.metrics = physics, loss, metrics
        self.over_set = nn.ModuleDict({name: SET_MEASURES[name]() for name in metrics.over_set})
        self.optimizer, self.scheduler = optimizer, scheduler
        self.options, self.guard = options, guard or Guard()
        self.shards = Shards(options.shards)
        self.course: Course | None = None
        if plan := options.stages:
            self.course = Course(plan, moves_of(plan, reconstructor, options.lr, optimizer.lr))
        self.frozen: list[tuple[nn.Parameter, int]] = []
        self.batch: Batch | None = None
        self.solutions: list[Solution] = []
        self.solves: list[SolveReport] = []
        self.parts: list[Part] = []

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, loader: int) -> Batch:
        """Move the examples; the indices stay on the CPU, where samples and operators are made."""
        moved = batch.examples.map(lambda t: t.to(device, non_blocking=True))
        every = batch.examples.parameters
        kept = {name: every[name] for name in self.physics.on_host if name in every}
        own = moved._replace(parameters={**moved.parameters, **kept})
        return batch._replace(examples=own)

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        self.batch = batch
        with self._watched():
            loss = self._forward(batch)
        for condition in self.reconstructor.conditions.values():
            condition.remember()
        self.guard.observe(loss, batch.index.tolist(), self.solutions)
        if self._logs_now():
            n = len(batch.index)
            self.log("train/loss", loss.detach(), prog_bar=True, batch_size=n, sync_dist=True)
            self.log_dict(forward_metrics(self.solutions))
        return loss

    def _forward(self, batch: Batch) -> Float[Tensor, ""]:
        if self.shards.count == 1:
            solution, loss = self.compare(batch, "train")
            self.solutions, self.parts = [solution], []
            return loss
        share = 1 / (self.shards.count * self.trainer.accumulate_grad_batches)
        compute = partial(self.compare, split="train")
        self.parts = self.shards.run(compute, batch, self, share)
        self.solutions = [part.solution for part in self.parts]
        return torch.stack([part.loss for part in self.parts]).mean()

    def _watched(self) -> AbstractContextManager[None]:
        """Records the linear solves of steps that are logged."""
        return watched(self.solves) if self._logs_now() else nullcontext()

    def backward(self, loss: Float[Tensor, ""], *args: Any, **kwargs: Any) -> None:
        """The gradient of a batch: one backward pass, or the sum of those of its parts."""
        if not self.parts:
            with self._watched():
                super().backward(loss, *args, **kwargs)
        add_gradients(self, self.parts)
        self.parts = []

    def compare(self, batch: Batch, split: str) -> tuple[Solution, Float[Tensor, ""]]:
        """Measure the images of a batch with their own draws, reconstruct them, take the loss."""
        physics, y, operator, level, draws = self._measured(batch, split)
        stage = self.course.stage if self.course else None
        solve: Callable[[Measurement, Operator], Solution] = partial(
            self.reconstructor.solve,
            keep_iterates=self.loss.needs_iterates,
            draws=draws.within("model"),
            noise_level=level,
            iterations=stage.iterations if stage else None,
        )
        if stage and stage.denoising is not None:
            solve = partial(self._denoised, level)
        trial = Trial(y, operator, batch.images, physics, draws, solve)
        # A loss may train on a part of the measurement; validation uses all of it.
        solution = self.loss.reconstruct(trial) if split == "train" else solve(y, operator)
        loss = self.loss.value(solution, trial)
        return solution, loss if solution.penalty is None else loss + solution.penalty

    def _denoised(self, level: Tensor, y: Measurement, operator: Operator) -> Solution:
        """D(y, σ) as a solution."""
        zero = torch.zeros_like(level)
        return Solution(self.reconstructor.denoise(y, level), None, zero, zero)

    def _measured(self, batch: Batch, split: str) -> tuple[Physics, Any, Operator, Any, Draws]:
        draws = Draws(self.options.seed, batch.index.tolist(), split, batch.epoch)
        physics = self.physics.given(batch.examples)
        if self.course and (sigma := self.course.stage.denoising) is not None:
            physics = Denoising(Gaussian(sigma))
        y, operator = physics.measure(batch.examples, draws)
        return physics, y, operator, physics.noise_level(y, operator, draws), draws

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        if self.global_step == (self.course.started if self.course else 0):
            check_first_gradient(self.reconstructor)
        self.guard.check(self.global_step, self.reconstructor, self._locate, self._total)
        for parameter, first in self.frozen:
            if self.current_epoch < first:
                parameter.grad = None  # the optimizer ignores it, and its state stays empty
        if self._logs_now():
            counts, backward = self.guard.counts(), backward_metrics(self.solutions)
            self.log_dict(counts | backward | solve_metrics(self.solves))
        self.solutions, self.solves = [], []

    def teardown(self, stage: str) -> None:
        self.shards.close()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(self.guard.state())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.guard.load(checkpoint)

    def _total(self, values: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return values
        added: Tensor = self.trainer.strategy.reduce(values, reduce_op="sum")
        return added

    def _locate(self) -> str:
        assert self.batch is not None
        _, y, operator, level, _ = self._measured(self.batch, "train")
        names = self.batch.index.tolist()
        return locate_nonfinite(self.reconstructor, y, operator, names, level)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Reconstruct with draws that never change."""
        solution, loss = self.compare(batch, "validation")
        self._expect_convergence(solution)
        self._log_validation("loss", loss, len(batch.index))
        if batch.images is None:
            return
        scored = self.metrics(solution.image, batch.images, batch.examples.maximum)
        for name, scores in scored.items():
            defined = scores[~scores.isnan()]
            # Where none is, the mean is that of zero images: it counts for nothing, or is NaN.
            mean = defined.mean() if len(defined) else scores.new_zeros(())
            self._log_validation(name, mean, len(defined))
        for name, metric in self.over_set.items():
            metric.update(solution.image, batch.images)  # type: ignore[operator]
            self._log_validation(name, metric, len(batch.index))

    def _log_validation(self, name: str, value: Any, count: int) -> None:
        self.log(f"validation/{name}", value, batch_size=count, sync_dist=True, on_epoch=True)

    def configure_optimizers(self) -> Any:
        """The optimizer of what is learned, and its schedule, stepped after every batch."""
        self.frozen = frozen(self.reconstructor, self.options.freeze)
        if self.course:
            made = self.course.optimizer(self.reconstructor, self.optimizer, self.scheduler)
            return [made[0]], [{"scheduler": made[1], "interval": "step"}]
        groups = by_learning_rate(self.reconstructor, self.options.lr)
        optimizer = self.optimizer.build(groups)
        steps = int(self.trainer.estimated_stepping_batches)
        return [optimizer], [
            {"scheduler": self.scheduler.build(optimizer, steps), "interval": "step"}
        ]

    def _logs_now(self) -> bool:
        return bool((self.global_step + 1) % self.options.log_every == 0)

    def _expect_convergence(self, solution: Solution) -> None:
        """Raise where it is strict; else the model has warned."""
        reached = solution.converged
        if not self.options.strict or reached is None or bool(reached.all()):
            return
        raise ConvergenceError(
            f"{int((~reached).sum())} of {len(reached)} images did not reach "
            f"the equilibrium: residual {float(solution.residual.max()):.1e} after "
            f"{int(solution.iterations.max())} iterations. Raise max_iterations of the model, or "
            "its tol and accuracy."
        )
