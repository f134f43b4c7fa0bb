"""Optimizers, learning-rate schedules and parameter groups: `optimizer`, `scheduler`."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer as TorchOptimizer
from torch.optim.lr_scheduler import LambdaLR

from unfold.errors import ConfigError
from unfold.parameters.bounds import Declared, bounded, inside, nonnegative, positive, whole

Groups = Iterable[nn.Parameter] | Iterable[dict[str, Any]]
"""Parameters, or groups of them with their own learning rates."""

POSITIVE = positive._replace(text="positive and finite")


@dataclass(frozen=True)
class Optimizer(Declared, ABC):
    """Settings of an optimizer."""

    @abstractmethod
    def build(self, parameters: Groups) -> TorchOptimizer:
        """The optimizer of these parameters."""


@dataclass(frozen=True)
class Adam(Optimizer):
    """Kingma and Ba, Adam, ICLR 2015, algorithm 1; decoupled weight decay as in AdamW.

    Args:
        lr: learning rate, positive.
        betas: decay of the two running means, each in [0, 1).
        weight_decay: decoupled, per unit of learning rate; 0 for Adam itself.
        eps: added to the root of the second mean, positive.
    """

    lr: float = bounded(1e-3, POSITIVE)
    betas: tuple[float, float] = bounded((0.9, 0.999), inside("[0, 1)"))
    weight_decay: float = bounded(0.0, nonnegative)
    eps: float = bounded(1e-8, POSITIVE)

    def build(self, parameters: Groups) -> TorchOptimizer:
        return torch.optim.AdamW(
            parameters, self.lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay
        )


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent.

    Args:
        lr: learning rate, positive.
        momentum: in [0, 1).
        nesterov: whether the gradient is taken ahead; needs a momentum.
    """

    lr: float = bounded(1e-2, POSITIVE)
    momentum: float = bounded(0.9, inside("[0, 1)"))
    nesterov: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise ConfigError("nesterov = true: needs a momentum above 0, got momentum=0.")

    def build(self, parameters: Groups) -> TorchOptimizer:
        return torch.optim.SGD(parameters, self.lr, momentum=self.momentum, nesterov=self.nesterov)


@dataclass(frozen=True)
class Scheduler(Declared, ABC):
    """The learning rate over the steps, as a factor of its initial value."""

    @abstractmethod
    def factor(self, step: int, steps: int) -> float:
        """The factor of step `step` of `steps`."""

    def build(self, optimizer: TorchOptimizer, steps: int) -> LambdaLR:
        """The scheduler of an optimizer; it is stepped after every batch."""
        return LambdaLR(optimizer, lambda step: self.factor(step, steps))


@dataclass(frozen=True)
class Constant(Scheduler):
    """The learning rate stays, after a linear warm-up.

    Args:
        warmup: steps over which it rises from 0.
    """

    warmup: int = bounded(0, whole(0), "in steps")

    def factor(self, step: int, steps: int) -> float:
        return min(1.0, (step + 1) / (self.warmup + 1))


@dataclass(frozen=True)
class Cosine(Scheduler):
    """½(1 + cos πt) from 1 to `final`, t the fraction of steps after a linear warm-up.

    Source: Loshchilov and Hutter, SGDR, ICLR 2017, equation 5 without restarts.

    Args:
        warmup: steps over which it rises from 0.
        final: factor that it comes down to after the last step, in [0, 1].
    """

    warmup: int = bounded(0, whole(0), "in steps")
    final: float = bounded(0.01, inside("[0, 1]"))

    def factor(self, step: int, steps: int) -> float:
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        t = min(1.0, (step - self.warmup) / max(1, steps - self.warmup))
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * t))
