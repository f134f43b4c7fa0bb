"""Optimizers, learning-rate schedules and parameter groups: `optimizer`, `scheduler`."""

import fnmatch
import math
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer as TorchOptimizer
from torch.optim.lr_scheduler import LambdaLR

from unfold.errors import ConfigError, listing, nearest
from unfold.parameters.bounds import (
    Bound,
    Declared,
    Range,
    bounded,
    check_value,
    inside,
    nonnegative,
    positive,
    whole,
)
from unfold.parameters.group import groups_of


def learned(reconstructor: nn.Module) -> dict[str, nn.Parameter]:
    """Everything that is learned, by its public name: `algo.stepsize`, not `algo.raw_stepsize`."""
    named = reconstructor.named_parameters()
    return {re.sub(r"\.raw_(\w+)$", r".\1", name): p for name, p in named if p.requires_grad}


EPOCHS = whole(1)._replace(text="1 epoch or more")


def matching(
    key: str, patterns: Mapping[str, Any], reconstructor: nn.Module, accepted: Range
) -> dict[str, Any]:
    """The value of each learned name that a glob matches; the last matching glob counts.

    Raises:
        ConfigError: a glob of `key` matches nothing that is learned, or its value is not accepted.
    """
    places = of_iterations(reconstructor)
    found: dict[str, Any] = {}
    for pattern, value in patterns.items():
        check_value(f"{key}.{pattern}", value, Bound(accepted, "", level=False))
        # `prior.denoiser` matches all of the network.
        hits = [n for n, (short, _, _) in places.items() if _means(pattern, n, short)]
        if not hits:
            short = sorted({".".join(name.split(".")[:2]) for name in places})
            raise ConfigError(
                f"{key} names '{pattern}', which is not learned{nearest(pattern, short)} "
                f"Learned: {listing(short)}."
            )
        found |= dict.fromkeys(hits, value)
    return found


def _means(pattern: str, *names: str) -> bool:
    return any(fnmatch.fnmatchcase(n, pattern) or n.startswith(f"{pattern}.") for n in names)


def of_iterations(reconstructor: nn.Module) -> dict[str, tuple[str, int | None, bool]]:
    """What each learned name has of iterations.

    It without the number of its iteration, that number, from 0, or None, and whether its entries
    are those of the iterations.
    """
    groups = dict(groups_of(reconstructor))
    each = tuple(f"{path}.{name}." for path, g in groups.items() for name in g.per_iteration)
    varying = {
        f"{path}.{n}" for path, g in groups.items() for n, plan in g.plans.items() if plan.own
    }
    found: dict[str, tuple[str, int | None, bool]] = {}
    for name in learned(reconstructor):
        prefix = next((one for one in each if name.startswith(one)), None)
        number, _, rest = name.removeprefix(prefix or "").partition(".")
        short = name if prefix is None else f"{prefix}{rest}".removesuffix(".")
        found[name] = short, None if prefix is None else int(number), name in varying
    return found


def by_learning_rate(reconstructor: nn.Module, rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """Groups of parameters for an optimizer; those without their own learning rate come first."""
    own = matching("TrainingOptions.lr", rates, reconstructor, positive)
    groups: dict[float | None, list[nn.Parameter]] = {None: []}
    for name, parameter in learned(reconstructor).items():
        groups.setdefault(own.get(name), []).append(parameter)
    made = [
        {"params": members} | ({} if rate is None else {"lr": rate})
        for rate, members in groups.items()
    ]
    return [group for group in made if group["params"]]


def frozen(reconstructor: nn.Module, epochs: Mapping[str, int]) -> list[tuple[nn.Parameter, int]]:
    """Each parameter that is frozen at first, and the first epoch in which it is trained."""
    own = matching("TrainingOptions.freeze", epochs, reconstructor, EPOCHS)
    known = learned(reconstructor)
    return [(known[name], count) for name, count in own.items()]


class DeadParameterWarning(UserWarning):
    """A learned parameter whose first gradient is exactly zero."""


def check_first_gradient(reconstructor: nn.Module) -> None:
    """Refuse learned parameters without a gradient; warn of those whose gradient is zero.

    Raises:
        ConfigError: names the parameters that no gradient reaches.
    """
    parameters = learned(reconstructor).items()
    missing = [name for name, p in parameters if p.grad is None]
    zero = [name for name, p in parameters if p.grad is not None and not bool(p.grad.any())]
    if missing:
        raise ConfigError(
            f"Trainable.learn: no gradient reaches {listing(missing)}. Leave them out, as in "
            "learn=[prior.*], or choose a model whose steps use them."
        )
    if zero:
        warnings.warn(
            f"The first gradient of {listing(zero)} is exactly zero: they do not change the loss "
            "so far. Leave them out of `learn` if that is intended.",
            DeadParameterWarning,
            stacklevel=2,
        )


Groups = Iterable[nn.Parameter] | Iterable[dict[str, Any]]
"""Parameters, or groups of them with their own learning rates."""

POSITIVE = positive._replace(text="positive and finite")


@dataclass(frozen=True)
class Optimizer(Declared, ABC):
    """Settings of an optimizer."""

    lr: float

    @abstractmethod
    def build(self, parameters: Groups) -> TorchOptimizer:
        """The optimizer of these parameters."""


@dataclass(frozen=True)
class Adaptive(Optimizer, ABC):
    """Steps relative to the root of a running mean of squared gradients.

    Args:
        lr: learning rate, positive.
        betas: decay of the two running means, each in [0, 1).
        eps: added to the root of the second mean, positive.
    """

    lr: float = bounded(1.5e-3, POSITIVE)
    betas: tuple[float, float] = bounded((0.9, 0.999), inside("[0, 1)"))
    eps: float = bounded(1e-8, POSITIVE)


@dataclass(frozen=True)
class Adam(Adaptive):
    """Kingma and Ba, Adam, ICLR 2015, algorithm 1.

    Args:
        weight_decay: d; the gradient of (d/2)‖w‖² is added to that of the loss.
    """

    weight_decay: float = bounded(0.0, nonnegative)

    def build(self, parameters: Groups) -> TorchOptimizer:
        return torch.optim.Adam(parameters, **asdict(self))


@dataclass(frozen=True)
class AdamW(Adaptive):
    """Loshchilov and Hutter, Decoupled weight decay regularization, ICLR 2019, algorithm 2.

    Args:
        weight_decay: d; every step multiplies the weights by 1 − lr·d.
    """

    weight_decay: float = bounded(1e-4, nonnegative)

    def build(self, parameters: Groups) -> TorchOptimizer:
        return torch.optim.AdamW(parameters, **asdict(self))


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
    """The learning rate over the steps, as a factor of its initial value.

    Args:
        warmup: steps over which it rises linearly from 0.
    """

    warmup: int = bounded(0, whole(0), "in steps")

    def rising(self, step: int) -> float:
        """The factor of a step of the warm-up."""
        return (step + 1) / (self.warmup + 1)

    @abstractmethod
    def factor(self, step: int, steps: int) -> float:
        """The factor of step `step` of `steps`."""

    def build(self, optimizer: TorchOptimizer, steps: int) -> LambdaLR:
        """The scheduler of an optimizer; it is stepped after every batch."""
        return LambdaLR(optimizer, lambda step: self.factor(step, steps))


@dataclass(frozen=True)
class Constant(Scheduler):
    """The learning rate stays, after a linear warm-up."""

    def factor(self, step: int, steps: int) -> float:
        return min(1.0, self.rising(step))


@dataclass(frozen=True)
class Cosine(Scheduler):
    """½(1 + cos πt) from 1 to `final`, t the fraction of steps after a linear warm-up.

    Source: Loshchilov and Hutter, SGDR, ICLR 2017, equation 5 without restarts.

    Args:
        final: factor that it comes down to after the last step, in [0, 1].
    """

    final: float = bounded(0.01, inside("[0, 1]"))

    def factor(self, step: int, steps: int) -> float:
        if step < self.warmup:
            return self.rising(step)
        t = min(1.0, (step - self.warmup) / max(1, steps - self.warmup))
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * t))
