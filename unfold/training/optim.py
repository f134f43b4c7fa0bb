"""Recipes of optimisers and of learning rates over time: `optimizer` and `scheduler`."""

import fnmatch
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer as TorchOptimizer
from torch.optim.lr_scheduler import LambdaLR

from unfold.errors import ConfigError, listing, nearest
from unfold.training.checks import positive, refuse
from unfold.training.guard.failures import config_name

Groups = Iterable[nn.Parameter] | Iterable[dict[str, Any]]
"""Parameters, or groups of them with a learning rate of their own."""


class Optimizer(ABC):
    """A recipe of an optimiser."""

    lr: float

    @abstractmethod
    def build(self, parameters: Groups) -> TorchOptimizer:
        """The optimiser of these parameters."""


@dataclass(frozen=True)
class Adam(Optimizer):
    """Kingma and Ba, Adam, ICLR 2015, algorithm 1; decoupled weight decay as in AdamW.

    Args:
        lr: learning rate, positive.
        betas: decay of the two running means, each in [0, 1).
        weight_decay: decoupled, per unit of learning rate; 0 for Adam itself.
        eps: added to the root of the second mean, positive.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    eps: float = 1e-8

    def __post_init__(self) -> None:
        positive("lr", self.lr)
        positive("eps", self.eps)
        refuse("betas", self.betas, unless=all(0 <= b < 1 for b in self.betas), must="in [0, 1)")
        inside = 0 <= self.weight_decay < math.inf
        refuse("weight_decay", self.weight_decay, unless=inside, must="0 or above, and finite")

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

    lr: float = 1e-2
    momentum: float = 0.9
    nesterov: bool = True

    def __post_init__(self) -> None:
        positive("lr", self.lr)
        refuse("momentum", self.momentum, unless=0 <= self.momentum < 1, must="in [0, 1)")
        if self.nesterov and self.momentum == 0:
            raise ConfigError("nesterov = true: needs a momentum above 0, got momentum=0.")

    def build(self, parameters: Groups) -> TorchOptimizer:
        return torch.optim.SGD(parameters, self.lr, momentum=self.momentum, nesterov=self.nesterov)


class Scheduler(ABC):
    """A recipe of the learning rate over the steps, as a factor of its initial value."""

    @abstractmethod
    def factor(self, step: int, steps: int) -> float:
        """The factor of step `step` of `steps`."""

    def build(self, optimizer: TorchOptimizer, steps: int) -> LambdaLR:
        """The scheduler of an optimiser; it is stepped after every batch."""
        return LambdaLR(optimizer, lambda step: self.factor(step, steps))


@dataclass(frozen=True)
class Constant(Scheduler):
    """The learning rate stays, after a linear warm-up.

    Args:
        warmup: steps over which it rises from 0.
    """

    warmup: int = 0

    def __post_init__(self) -> None:
        refuse("warmup", self.warmup, unless=self.warmup >= 0, must="0 or above")

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

    warmup: int = 0
    final: float = 0.01

    def __post_init__(self) -> None:
        refuse("warmup", self.warmup, unless=self.warmup >= 0, must="0 or above")
        refuse("final", self.final, unless=0 <= self.final <= 1, must="in [0, 1]")

    def factor(self, step: int, steps: int) -> float:
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        t = min(1.0, (step - self.warmup) / max(1, steps - self.warmup))
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * t))


def learned(reconstructor: nn.Module) -> dict[str, nn.Parameter]:
    """Everything that is learned, under its name in the configuration."""
    named = reconstructor.named_parameters()
    return {config_name(name): p for name, p in named if p.requires_grad}


def matching(key: str, patterns: Mapping[str, Any], reconstructor: nn.Module) -> dict[str, Any]:
    """The value of each learned name that a glob means; the last glob that means it counts.

    Args:
        key: of the configuration, `trainable.lr`, for messages.
        patterns: globs and their values.
        reconstructor: whose parameters are meant.

    Raises:
        ConfigError: a glob means nothing that is learned.
    """
    known = learned(reconstructor)
    found: dict[str, Any] = {}
    for pattern, value in patterns.items():
        # `prior.denoiser` means all of the network, as it does in trainable.learn.
        hits = [n for n in known if fnmatch.fnmatchcase(n, pattern) or n.startswith(f"{pattern}.")]
        if not hits:
            short = sorted({".".join(name.split(".")[:2]) for name in known})
            raise ConfigError(
                f"{key} names '{pattern}', which is not learned{nearest(pattern, short)} "
                f"Learned: {listing(short)}."
            )
        found |= dict.fromkeys(hits, value)
    return found


def by_learning_rate(reconstructor: nn.Module, rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """Groups of parameters for an optimiser; those without a rate of their own come first.

    Raises:
        ConfigError: a glob means nothing that is learned, or a rate is not positive.
    """
    for pattern, rate in rates.items():
        if not rate > 0:
            raise ConfigError(f"trainable.lr.{pattern} = {rate}: must be positive.")
    own = matching("trainable.lr", rates, reconstructor)
    groups: dict[float | None, list[nn.Parameter]] = {None: []}
    for name, parameter in learned(reconstructor).items():
        groups.setdefault(own.get(name), []).append(parameter)
    made = [
        {"params": members} | ({} if rate is None else {"lr": rate})
        for rate, members in groups.items()
    ]
    return [group for group in made if group["params"]]


def waiting(reconstructor: nn.Module, epochs: Mapping[str, int]) -> list[tuple[nn.Parameter, int]]:
    """Each parameter that waits, and the first epoch in which it moves.

    Raises:
        ConfigError: a glob means nothing that is learned, or a number is below 1.
    """
    for pattern, count in epochs.items():
        if count < 1:
            raise ConfigError(f"trainable.freeze.{pattern} = {count}: must be 1 epoch or more.")
    own = matching("trainable.freeze", epochs, reconstructor)
    known = learned(reconstructor)
    return [(known[name], count) for name, count in own.items()]
