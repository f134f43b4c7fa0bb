"""The LightningModule: measure, reconstruct, compare; it knows nothing of algorithms."""

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn

from unfold.data.batches import Batch
from unfold.errors import ConvergenceError
from unfold.evaluation.metrics import ImageMetrics
from unfold.models.model import Solution
from unfold.physics.base import Physics
from unfold.random import Draws
from unfold.reconstructor import Reconstructor
from unfold.solvers.report import SolveReport, watched
from unfold.training.guard.failures import audit, where_not_finite
from unfold.training.guard.guard import Guard
from unfold.training.loggers import convergence as endings
from unfold.training.losses.base import Loss, Trial
from unfold.training.optim import Optimizer, Scheduler, by_learning_rate, frozen
from unfold.training.shards import Part, Shards, add_gradients


class Training(pl.LightningModule):
    """Trains one reconstructor under one law of operators.

    Args:
        reconstructor: what is trained.
        physics: the law of the operators and the noise; drawn anew for every image and epoch.
        loss: what is made small.
        optimizer: the recipe of the optimiser.
        scheduler: the recipe of its learning rate.
        metrics: of the validation images.
        seed: of every draw.
        strict: whether an equilibrium that was not reached in validation is an error.
        log_every: steps between two rows of the log.
        lr: learning rates of their own, by globs on names.
        freeze: epochs that what a glob means waits before it moves.
        shards: equal parts that a batch is computed in, each with a backward of its own, as so
            many processes would; the sums are then the same bits.
        guard: what to do at a step that is not to be trusted; the usual one if not given.
    """

    def __init__(
        self,
        reconstructor: Reconstructor,
        physics: Physics,
        loss: Loss,
        optimizer: Optimizer,
        scheduler: Scheduler,
        metrics: ImageMetrics,
        seed: int,
        strict: bool = False,
        log_every: int = 10,
        lr: Mapping[str, float] | None = None,
        freeze: Mapping[str, int] | None = None,
        shards: int = 1,
        guard: Guard | None = None,
    ) -> None:
        super().__init__()
        self.guard = guard or Guard.usual()
        self.lr, self.waits = lr or {}, freeze or {}
        self.waiting: list[tuple[nn.Parameter, int]] = []
        self.batch: Batch | None = None
        self.shards = Shards(shards)
        self.reconstructor = reconstructor
        self.physics, self.loss, self.metrics = physics, loss, metrics
        self.optimizer_recipe, self.scheduler_recipe = optimizer, scheduler
        self.seed, self.strict, self.log_every = seed, strict, log_every
        self.solutions: list[Solution] = []
        self.solves: list[SolveReport] = []
        self.parts: list[Part] = []

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, loader: int) -> Batch:
        """Move the images; the indices stay on the CPU, where the draws are made."""
        return batch._replace(images=batch.images.to(device, non_blocking=True))

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """Measure the images, reconstruct them, compare."""
        self.batch = batch
        with self._watched():
            loss = self._forward(batch)
        self.guard.watch(loss, batch.index.tolist(), self.solutions)
        if self._logs_now():
            n = len(batch.images)
            self.log("train/loss", loss.detach(), prog_bar=True, batch_size=n, sync_dist=True)
            self.log_dict(endings.of_forward(self.solutions))
        return loss

    def _forward(self, batch: Batch) -> Float[Tensor, ""]:
        if self.shards.count == 1:
            solution, loss = self.compare(batch, "train")
            self.solutions, self.parts = [solution], []
            return loss
        share = 1 / (self.shards.count * self.trainer.accumulate_grad_batches)
        self.parts = self.shards.run(self._compare_in_training, batch, self, share)
        self.solutions = [part.solution for part in self.parts]
        return torch.stack([part.loss for part in self.parts]).mean()

    def _watched(self) -> AbstractContextManager[None]:
        """Keeps how the linear solves end, at steps that are logged."""
        return watched(self.solves) if self._logs_now() else nullcontext()

    def backward(self, loss: Float[Tensor, ""], *args: Any, **kwargs: Any) -> None:
        """The gradient of a batch: one backward, or the sum of what its parts have found."""
        if not self.parts:
            with self._watched():
                super().backward(loss, *args, **kwargs)
        add_gradients(self, self.parts)
        self.parts = []

    def _compare_in_training(self, batch: Batch) -> tuple[Solution, Float[Tensor, ""]]:
        return self.compare(batch, "train")

    def compare(self, batch: Batch, split: str) -> tuple[Solution, Float[Tensor, ""]]:
        """Measure the images of a batch with their own draws, reconstruct them, take the loss."""
        draws = self._draws(batch, split)
        y, operator = self.physics.measure(batch.images, draws)
        solve = partial(self.reconstructor.solve, draws=draws.within("model"))
        trial = Trial(y, operator, batch.images, self.physics, draws, solve)
        # A loss may train on a part of the measurement; what is validated is what is used.
        solution = self.loss.reconstruct(trial) if split == "train" else solve(y, operator)
        loss = self.loss.value(solution, trial)
        return solution, loss if solution.penalty is None else loss + solution.penalty

    def _draws(self, batch: Batch, split: str) -> Draws:
        return Draws(self.seed, batch.index.tolist(), split, batch.epoch)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Look at the gradients of the first step, and judge every one."""
        if self.global_step == 0:
            audit(self.reconstructor)
        self.guard.judge(self.global_step, self.reconstructor, self._culprit, self._over_all)
        if self._logs_now():
            self.log_dict(self.guard.counts())
        for parameter, first in self.waiting:
            if self.current_epoch < first:
                parameter.grad = None  # the optimiser passes over it, and its state stays empty
        self._log_backward()

    def teardown(self, stage: str) -> None:
        """End the threads of the parts."""
        self.shards.close()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what happened so far."""
        checkpoint.update(self.guard.state())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with it."""
        self.guard.load(checkpoint)

    def _over_all(self, values: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return values
        added: Tensor = self.trainer.strategy.reduce(values, reduce_op="sum")
        return added

    def _culprit(self) -> str:
        assert self.batch is not None
        y, operator = self.physics.measure(self.batch.images, self._draws(self.batch, "train"))
        return where_not_finite(self.reconstructor, y, operator, self.batch.index.tolist())

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Reconstruct under draws that never change."""
        solution, loss = self.compare(batch, "validation")
        self._expect_convergence(solution)
        n = len(batch.images)
        scores = {k: v.mean() for k, v in self.metrics(solution.image, batch.images).items()}
        if solution.contraction is not None:
            scores["contraction"] = solution.contraction.mean()
        values = {f"validation/{name}": value for name, value in (scores | {"loss": loss}).items()}
        self.log_dict(values, batch_size=n, sync_dist=True, on_epoch=True, prog_bar=False)

    def configure_optimizers(self) -> Any:
        """The optimiser of what is learned, and its schedule, stepped after every batch."""
        groups = by_learning_rate(self.reconstructor, self.lr)
        self.waiting = frozen(self.reconstructor, self.waits)
        optimizer = self.optimizer_recipe.build(groups)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = self.scheduler_recipe.build(optimizer, steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _logs_now(self) -> bool:
        return bool((self.global_step + 1) % self.log_every == 0)

    def _log_backward(self) -> None:
        if self._logs_now():
            self.log_dict(endings.of_backward(self.solutions) | endings.of_solves(self.solves))
        self.solutions, self.solves = [], []

    def _expect_convergence(self, solution: Solution) -> None:
        if solution.converged is None or bool(solution.converged.all()):
            return
        message = (
            f"{int((~solution.converged).sum())} of {len(solution.converged)} images did not reach "
            f"the equilibrium: residual {float(solution.residual.max()):.1e} after "
            f"{int(solution.iterations.max())} iterations. Raise model.max_iterations, or "
            "model.tol and model.accuracy."
        )
        if self.strict:
            raise ConvergenceError(message)
        warnings.warn(message, stacklevel=2)
