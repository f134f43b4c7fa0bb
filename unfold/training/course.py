"""How a training passes through its stages: what moves in each, and when the next one begins."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer as TorchOptimizer
from torch.optim.lr_scheduler import LambdaLR

from unfold.errors import ConfigError, listing
from unfold.parameters.bounds import positive
from unfold.priors.denoiser_priors import DenoiserPrior
from unfold.reconstructor import Reconstructor
from unfold.training.checkpoints.callback import Checkpointing
from unfold.training.optim import Optimizer, Scheduler, learned, matching, of_iterations
from unfold.training.stages import Stage


class Moves(NamedTuple):
    """How a parameter moves in a stage.

    rate: the learning rate of the entries that move fastest.
    relative: of the entries to it, one for each iteration; None where all move alike.
    """

    rate: float
    relative: tuple[float, ...] | None = None


def moves_of(
    plan: Sequence[Stage], net: Reconstructor, rates: Mapping[str, float], lr: float
) -> list[dict[str, Moves]]:
    """What moves in each stage, by name; `rates` are by globs, and `lr` of all others.

    Raises:
        ConfigError: a glob matches nothing that is learned, a stage learns nothing, uses iterations
            that the model has not, or the last one does not use all of them.
    """
    base = dict.fromkeys(learned(net), lr) | matching("TrainingOptions.lr", rates, net, positive)
    found = [_moves(f"stages: stage {n}", one, net, base) for n, one in enumerate(plan, 1)]
    used = plan[-1].iterations
    if plan[-1].denoising is not None or used not in (None, net.model.count):
        what = "denoises" if plan[-1].denoising is not None else f"uses {used} iterations"
        raise ConfigError(
            f"stages: the last stage {what}, and the model has {net.model.count or 'one step'}: "
            "end with a stage of the reconstruction by all iterations, {steps: 100}."
        )
    return found


def _moves(
    name: str, stage: Stage, net: Reconstructor, base: Mapping[str, float]
) -> dict[str, Moves]:
    count = _in_use(name, stage, net)
    meant = matching(f"{name}.learn", dict.fromkeys(stage.learn, 1.0), net, positive)
    own = {**base, **matching(f"{name}.lr", stage.lr, net, positive)}
    places, total = set(stage.places(count)), net.model.count or 1
    # Of iteration k: 0 where it is not learned or not in use.
    each = [stage.older ** (count - k) * (k in places) for k in range(1, count + 1)]
    each += [0.0] * (total - count)
    found = {}
    for parameter, (_, place, varies) in of_iterations(net).items():
        if parameter not in meant:
            continue
        rate = own[parameter] * stage.factor
        if varies and (most := max(each)) > 0:
            relative = tuple(one / most for one in each)
            found[parameter] = Moves(rate * most, relative if set(relative) != {1.0} else None)
        elif not varies and (part := 1.0 if place is None else each[place]) > 0:
            found[parameter] = Moves(rate * part)
    if not found:
        raise ConfigError(
            f"{name} learns nothing: learn = {list(stage.learn)} means what iterations outside of "
            f"{listing(map(str, sorted(places)))} have, of {count} in use. Widen learn or at."
        )
    return found


def _in_use(name: str, stage: Stage, net: Reconstructor) -> int:
    """How many iterations a stage uses."""
    count, model = net.model.count, type(net.model).__name__
    if count is None and (stage.iterations is not None or stage.at != "all" or stage.older != 1):
        raise ConfigError(
            f"{name}: {model} repeats one and the same step; leave out iterations, at and older, "
            "or use an unfolded model."
        )
    used = stage.iterations or count or 1
    if count is not None and used > count:
        raise ConfigError(
            f"{name}.iterations = {used}: the model has {count} (Unfolded.iterations); lower it, "
            "or raise that."
        )
    places = stage.places(used)
    if wrong := [k for k in places if k > used]:
        raise ConfigError(f"{name}.at = {list(places)}: {wrong[0]} is beyond the {used} in use.")
    prior = net.prior.recipe
    if stage.denoising is not None and (net.prior.varies or not isinstance(prior, DenoiserPrior)):
        raise ConfigError(
            f"{name}.denoising = {stage.denoising}: one network that all iterations share is "
            f"needed, and the prior is {type(prior).__name__}, tied or with one for each iteration."
            " Take a prior with a network such as prior=dncnn, not untied, or leave denoising out."
        )
    return used


class Course(pl.Callback):
    """The stage that a training is in.

    A stage begins just before a batch, with empty moments of the optimizer. What does not move has
    no gradient. Entries of one tensor that move slower do by w ← w₀ + r (w − w₀) after a step, in
    which any optimizer is linear; those that do not move are kept.
    """

    def __init__(self, plan: Sequence[Stage], moves: Sequence[Mapping[str, Moves]]) -> None:
        self.plan, self.moves = tuple(plan), moves
        self.index, self.started, self.waited, self.over = 0, 0, 0, False
        self.best: float | None = None
        self._learned: dict[str, nn.Parameter] = {}
        self._before: list[tuple[nn.Parameter, Tensor, Tensor]] = []

    @property
    def stage(self) -> Stage:
        return self.plan[self.index]

    @property
    def is_last(self) -> bool:
        return self.index == len(self.plan) - 1

    def optimizer(
        self, net: nn.Module, settings: Optimizer, scheduler: Scheduler
    ) -> tuple[TorchOptimizer, LambdaLR]:
        """One group for what has the same rates in all stages, and the rate of each at a step."""
        self._learned = self._learned or learned(net)
        groups: dict[tuple[float, ...], list[nn.Parameter]] = {}
        for name, parameter in self._learned.items():
            rates = tuple(moves[name].rate if name in moves else 0.0 for moves in self.moves)
            groups.setdefault(rates, []).append(parameter)
        made = settings.build([{"params": one, "lr": 1.0} for one in groups.values()])

        def rate(rates: tuple[float, ...]) -> Any:
            def at(step: int) -> float:
                inside = min(max(0, step - self.started), self.stage.steps - 1)
                return rates[self.index] * scheduler.factor(inside, self.stage.steps)

            return at

        return made, LambdaLR(made, [rate(rates) for rates in groups])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._choose()
        trainer.should_stop |= self.over and self.is_last

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin the next stage where the one before has its steps, or its patience is over."""
        if batch_idx % trainer.accumulate_grad_batches or self.is_last:
            return
        if self.over or trainer.global_step - self.started >= self.stage.steps:
            self.index, self.started = self.index + 1, trainer.global_step
            self.best, self.waited, self.over = None, 0, False
            self._choose()
            trainer.optimizers[0].state.clear()
            scheduler = trainer.lr_scheduler_configs[0].scheduler
            assert isinstance(scheduler, LambdaLR)
            pairs = zip(trainer.optimizers[0].param_groups, scheduler.lr_lambdas, strict=True)
            for group, rate in pairs:
                group["lr"] = rate(self.started)

    def _choose(self) -> None:
        """Only what moves in this stage has a gradient."""
        for name, parameter in self._learned.items():
            parameter.requires_grad_(name in self.moves[self.index])
            parameter.grad = None

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: TorchOptimizer
    ) -> None:
        """Remember the entries that move slower, before the gradient is clipped."""
        self._before = []
        for name, (_, relative) in self.moves[self.index].items():
            parameter = self._learned[name]
            if relative is not None:
                shape = (-1, *[1] * (parameter.ndim - 1))
                r = torch.tensor(relative, dtype=parameter.dtype, device=parameter.device)
                self._before.append((parameter, parameter.detach().clone(), r.reshape(shape)))
                if parameter.grad is not None:
                    parameter.grad = torch.where(r.reshape(shape) > 0, parameter.grad, 0)

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        for parameter, before, r in self._before:
            slower = torch.where(r > 0, before + r * (parameter - before), before)
            parameter.copy_(torch.where(r == 1, parameter, slower))
        self._before = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or self.stage.patience is None:
            return
        (judge,) = (one for one in trainer.callbacks if isinstance(one, Checkpointing))  # type: ignore[attr-defined]
        score = float(trainer.callback_metrics[judge.objective])
        better = self.best is None or (score != self.best and judge.improves(score, self.best))
        self.best = score if better else self.best
        self.waited = 0 if better else self.waited + 1
        self.over |= self.waited >= self.stage.patience
        trainer.should_stop |= self.over and self.is_last

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for parameter in self._learned.values():
            parameter.requires_grad_(True)

    def state_dict(self) -> dict[str, Any]:
        names = ("index", "started", "waited", "over", "best")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)
