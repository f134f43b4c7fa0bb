"""What a training does at a step that is not to be trusted, whatever happened in it."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from unfold.errors import ConfigError, UnfoldError
from unfold.training.guard.failures import Mishap

if TYPE_CHECKING:
    from unfold.models.model import Model


class RolledBackError(UnfoldError):
    """Asks for the newest training state; nothing but `fit` sees it."""

    exit_code = 4


class Policy(ABC):
    """Answers the steps in which one kind of thing went wrong, and counts them.

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


class Rollback(Policy):
    """Goes back to the newest training state, and on from there with learning rates halved.

    The images and the draws are the same as before: with the old rates, so would be the end.

    Args:
        limit: how many times it goes back.
    """

    metric = "train/rollbacks"

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def answer(self, network: nn.Module, why: Callable[[], Mishap]) -> None:
        told = why()
        if self.count >= self.limit:
            raise told.error(
                f"{told.text}. The training went back {self.limit} times, with learning rates "
                f"halved each time. {told.remedy}, or look at the images of that step."
            )
        self.count += 1
        warnings.warn(
            f"{told.text}. Back to the newest training state, with learning rates halved.",
            stacklevel=2,
        )
        raise RolledBackError(told.text)

    def load(self, state: Mapping[str, int]) -> None:
        # The state may be older than the reason to go back to it.
        self.count = max(self.count, state["count"])

    @property
    def rate(self) -> float:
        return float(0.5**self.count)


def policy(name: str, limit: int) -> Policy:
    """The policy of a name in a configuration.

    Args:
        name: warn, stop, skip or rollback.
        limit: of those that have one.
    """
    bounded: dict[str, type[Skip] | type[Rollback]] = {"skip": Skip, "rollback": Rollback}
    if name in bounded:
        return bounded[name](limit)
    unbounded: dict[str, type[Warn] | type[Stop]] = {"warn": Warn, "stop": Stop}
    return unbounded[name]()


def check_unreached(name: str, model: "Model") -> None:
    """Refuse a policy for equilibria that the model has no use for.

    Args:
        name: of `trainer.on_unreached`.
        model: what is trained.

    Raises:
        ConfigError: nothing would ever ask the policy.
    """
    if name == "warn":
        return
    key = f"trainer.on_unreached = {name}"
    if not model.needs_contraction:
        raise ConfigError(
            f"{key}: only an equilibrium can be missed, and the model is {type(model).__name__}. "
            "Leave it out, or take model=deq."
        )
    if model.refuses_inexact_gradients and name != "stop":
        raise ConfigError(
            f"{key}: with model.backward.on_divergence=error a gradient that is not reached ends "
            "the training before the policy is asked. Write model.backward.on_divergence=warn."
        )
