"""What a training does at a step whose gradient is invalid."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, Literal

from torch import nn

from unfold.training.guard.failures import Failure


class Policy(ABC):
    """Handles the steps with one kind of failure, and counts them.

    The counts are part of the checkpoint, so that a resumed run behaves as an uninterrupted one.
    """

    metric: ClassVar[str | None] = None
    """The name of the count in the log; None where there is none."""

    def __init__(self) -> None:
        self.count = self.in_a_row = 0

    @abstractmethod
    def handle(self, network: nn.Module, failure: Callable[[], Failure]) -> None:
        """Handle a step whose gradients are in the network.

        Args:
            network: what is trained.
            failure: finds out what happened, which takes time.

        Raises:
            UnfoldError: the training ends.
        """

    def passed(self) -> None:
        """Register a step without failure."""
        self.in_a_row = 0

    def state(self) -> dict[str, int]:
        """The counts, for a checkpoint."""
        return {"count": self.count, "in_a_row": self.in_a_row}

    def load(self, state: Mapping[str, int]) -> None:
        """Restore the counts of a checkpoint."""
        self.count, self.in_a_row = state["count"], state["in_a_row"]


class Warn(Policy):
    """Takes the step anyway; warns once and counts."""

    def handle(self, network: nn.Module, failure: Callable[[], Failure]) -> None:
        self.count += 1
        if self.count == 1:
            found = failure()
            warnings.warn(
                f"{found.text}. The training continues with the last iterate, and counts such "
                f"steps. {found.remedy}.",
                stacklevel=2,
            )


class Stop(Policy):
    """Ends the training; its newest checkpoint and its best weights are kept."""

    def handle(self, network: nn.Module, failure: Callable[[], Failure]) -> None:
        found = failure()
        raise found.error(f"{found.text}. {found.remedy}.")


class Skip(Policy):
    """Skips the step: neither the weights nor the moments of the optimizer change.

    Args:
        limit: how many steps in a row may be skipped.
    """

    metric = "train/skipped"

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def handle(self, network: nn.Module, failure: Callable[[], Failure]) -> None:
        self.count, self.in_a_row = self.count + 1, self.in_a_row + 1
        found = failure()
        if self.in_a_row > self.limit:
            raise found.error(
                f"{found.text}. The {self.limit} steps before it were skipped for the same reason. "
                f"{found.remedy}, or raise {found.limit}."
            )
        warnings.warn(f"{found.text}. The step is skipped.", stacklevel=2)
        for parameter in network.parameters():
            parameter.grad = None  # optimizers ignore parameters without a gradient


def policy(name: Literal["warn", "stop", "skip"], limit: int) -> Policy:
    """The policy of a name in the settings; `limit` is how many steps in a row `skip` allows."""
    policies: dict[str, Callable[[], Policy]]
    policies = {"warn": Warn, "stop": Stop, "skip": partial(Skip, limit)}
    return policies[name]()
