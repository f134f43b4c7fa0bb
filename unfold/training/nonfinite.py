"""What a training does at a step whose gradient is not finite."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from unfold.errors import NonFiniteError


class RolledBackError(NonFiniteError):
    """Asks for the newest training state; nothing but `fit` sees it."""


class OnNonFinite(ABC):
    """Answers steps whose gradient is not finite, and counts them.

    What it knows is part of the training state, so that a run that is interrupted goes on as one
    that is not.
    """

    metric: ClassVar[str | None] = None
    """The name of the count in the log; None where there is none."""

    def __init__(self) -> None:
        self.count = self.row = 0

    @property
    def rate(self) -> float:
        """What learning rates are multiplied by."""
        return 1.0

    @abstractmethod
    def answer(self, step: int, network: nn.Module, why: Callable[[], str]) -> None:
        """Deal with the step, whose gradients are in the network.

        Args:
            step: its number.
            network: what is trained.
            why: where the numbers stopped being finite, in a sentence.

        Raises:
            NonFiniteError: the training cannot go on.
        """

    def passed(self) -> None:
        """A step whose gradient is finite."""
        self.row = 0

    def state(self) -> dict[str, int]:
        """What a training state keeps of it."""
        return {"count": self.count, "row": self.row}

    def load(self, state: Mapping[str, int]) -> None:
        """Go on from a training state."""
        self.count, self.row = state["count"], state["row"]

    def slow(self, scheduler: LambdaLR) -> None:
        """Change the learning rates of a training that begins or goes on."""
        if self.rate == 1:
            return
        groups = scheduler.optimizer.param_groups
        scheduler.base_lrs = [group["initial_lr"] * self.rate for group in groups]
        pairs = zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
        for group, (base, factor_at) in zip(groups, pairs, strict=True):
            group["lr"] = base * factor_at(scheduler.last_epoch)


class Stop(OnNonFinite):
    """Ends the training; its newest state and its best weights are kept."""

    def answer(self, step: int, network: nn.Module, why: Callable[[], str]) -> None:
        raise NonFiniteError(
            f"The loss or a gradient of step {step} is not finite: {why()}. "
            "Lower optimizer.lr or algo.stepsize, or set trainer.gradient_clip."
        )


class Skip(OnNonFinite):
    """Leaves the step out: neither the weights nor the means of the optimiser move.

    Args:
        limit: how many steps in a row may be left out.
    """

    metric = "train/skipped"

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def answer(self, step: int, network: nn.Module, why: Callable[[], str]) -> None:
        self.count, self.row = self.count + 1, self.row + 1
        text = f"The loss or a gradient of step {step} is not finite: {why()}"
        if self.row > self.limit:
            raise NonFiniteError(
                f"{text}. The {self.limit} steps before it were left out for the same reason. "
                "Lower optimizer.lr or algo.stepsize, or raise trainer.nonfinite_limit."
            )
        warnings.warn(f"{text}. The step is left out.", stacklevel=2)
        for parameter in network.parameters():
            parameter.grad = None  # the optimiser passes over it


class Rollback(OnNonFinite):
    """Goes back to the newest training state, and on from there with learning rates halved.

    The images and the draws are the same as before: with the old rates, so would be the end.

    Args:
        limit: how many times it goes back.
    """

    metric = "train/rollbacks"

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def answer(self, step: int, network: nn.Module, why: Callable[[], str]) -> None:
        text = f"The loss or a gradient of step {step} is not finite: {why()}"
        if self.count >= self.limit:
            raise NonFiniteError(
                f"{text}. The training went back {self.limit} times, with learning rates halved "
                "each time. Lower algo.stepsize, or look at the images of that step."
            )
        self.count += 1
        warnings.warn(
            f"{text}. Back to the newest training state, with learning rates times {self.rate:g}.",
            stacklevel=2,
        )
        raise RolledBackError(text)

    def load(self, state: Mapping[str, int]) -> None:
        # The state may be older than the reason to go back to it.
        self.count = max(self.count, state["count"])

    @property
    def rate(self) -> float:
        return float(0.5**self.count)
