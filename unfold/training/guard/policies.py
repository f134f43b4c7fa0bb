"""What a training does at a step that is not to be trusted, whatever happened in it."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, Literal

from torch import nn

from unfold.training.guard.failures import Mishap


class Policy(ABC):
    """Answers the steps in which one kind of thing went wrong, and counts them.

    What it knows is part of the training state, so that a run that is interrupted goes on as one
    that is not.
    """

    metric: ClassVar[str | None] = None
    """The name of the count in the log; None where there is none."""

    def __init__(self) -> None:
        self.count = self.row = 0

    @abstractmethod
    def answer(self, network: nn.Module, why: Callable[[], Mishap]) -> None:
        """Deal with a step whose gradients are in the network.

        Args:
            network: what is trained.
            why: what happened; finding it out takes time.

        Raises:
            UnfoldError: the training cannot go on.
        """

    def passed(self) -> None:
        """A step in which nothing went wrong."""
        self.row = 0

    def state(self) -> dict[str, int]:
        """What a training state keeps of it."""
        return {"count": self.count, "row": self.row}

    def load(self, state: Mapping[str, int]) -> None:
        """Go on from a training state."""
        self.count, self.row = state["count"], state["row"]


class Warn(Policy):
    """Goes on with the step as it is; the first one is told, and all are counted."""

    def answer(self, network: nn.Module, why: Callable[[], Mishap]) -> None:
        self.count += 1
        if self.count == 1:
            told = why()
            warnings.warn(
                f"{told.text}. The training goes on with what it has, and counts such steps. "
                f"{told.remedy}.",
                stacklevel=2,
            )


class Stop(Policy):
    """Ends the training; its newest state and its best weights are kept."""

    def answer(self, network: nn.Module, why: Callable[[], Mishap]) -> None:
        told = why()
        raise told.error(f"{told.text}. {told.remedy}.")


class Skip(Policy):
    """Leaves the step out: neither the weights nor the means of the optimiser move.

    Args:
        limit: how many steps in a row may be left out.
    """

    metric = "train/skipped"

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def answer(self, network: nn.Module, why: Callable[[], Mishap]) -> None:
        self.count, self.row = self.count + 1, self.row + 1
        told = why()
        if self.row > self.limit:
            raise told.error(
                f"{told.text}. The {self.limit} steps before it were left out for the same reason. "
                f"{told.remedy}, or raise {told.limit}."
            )
        warnings.warn(f"{told.text}. The step is left out.", stacklevel=2)
        for parameter in network.parameters():
            parameter.grad = None  # the optimiser passes over it


def policy(name: Literal["warn", "stop", "skip"], limit: int) -> Policy:
    """The policy of a name in the settings; `limit` is how many steps in a row `skip` allows."""
    return {"warn": Warn, "stop": Stop, "skip": partial(Skip, limit)}[name]()
