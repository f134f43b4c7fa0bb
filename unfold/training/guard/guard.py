"""Checks of a step before the weights change, and what a training does where one fails."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from unfold.models.model import Solution
from unfold.training.guard.failures import Convergence, Failure, not_finite, not_reached


class Policy(ABC):
    """Handles the steps with one kind of failure, and counts them.

    The counts are part of the checkpoint, so that a resumed run behaves as an uninterrupted one.
    """

    def __init__(self) -> None:
        self.count = self.in_a_row = 0

    @abstractmethod
    def handle(self, network: nn.Module, failure: Callable[[], Failure]) -> None:
        """Handle a step whose gradients are in the network; `failure` finds out what happened.

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
    """Skips up to `limit` steps in a row: neither weights nor moments of the optimizer change."""

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
    return Skip(limit) if name == "skip" else Warn() if name == "warn" else Stop()


class Guard:
    """Checks every step, and calls one policy for each kind of failure.

    Args:
        on_nonfinite: for a loss or a gradient that is not finite; `Stop` by default.
        on_unreached: for an equilibrium or its gradient that was not reached; `Warn` by default.
    """

    def __init__(
        self, on_nonfinite: Policy | None = None, on_unreached: Policy | None = None
    ) -> None:
        self.on_nonfinite, self.on_unreached = on_nonfinite or Stop(), on_unreached or Warn()
        self._losses: list[Float[Tensor, ""]] = []
        self._records: list[Convergence] = []
        self._has_equilibria = False

    def observe(
        self, loss: Float[Tensor, ""], names: Sequence[int], solutions: Sequence[Solution]
    ) -> None:
        """Record a batch, `names` the indices of its images in order; a step has one or several."""
        self._losses.append(loss.detach())
        left = iter(names)
        for one in solutions:
            own = tuple(islice(left, len(one.residual)))
            if one.converged is not None:  # the model has an equilibrium
                found = one.converged, one.residual, one.iterations, one.backward
                self._records.append(Convergence(own, *found))
                self._has_equilibria = True

    def check(
        self,
        step: int,
        network: nn.Module,
        where: Callable[[], str],
        total: Callable[[Tensor], Tensor],
    ) -> None:
        """Call the policy of the failure of a step; of two failures, `on_nonfinite` is called.

        `where` locates the first number that is not finite; `total` sums a tensor over all
        processes, so that all act alike.

        Raises:
            UnfoldError: a policy ends the training.
        """
        losses, records = self._losses, self._records
        self._losses, self._records = [], []
        # The only synchronization of a step: two numbers, whatever the size of the network.
        nonfinite, unreached = total(failures(network, losses, records)).tolist()
        if nonfinite:
            self.on_nonfinite.handle(network, lambda: not_finite(step, where))
            return
        self.on_nonfinite.passed()
        if unreached:
            self.on_unreached.handle(network, lambda: not_reached(step, records))
        else:
            self.on_unreached.passed()

    def counts(self) -> dict[str, float]:
        """The counts for the log; skipped steps are summed over the reasons."""
        both = (self.on_nonfinite, self.on_unreached)
        skipped = [float(policy.count) for policy in both if isinstance(policy, Skip)]
        found = {"train/skipped": sum(skipped)} if skipped else {}
        unreached = {"train/unreached": float(self.on_unreached.count)}
        return found | (unreached if self._has_equilibria else {})

    def state(self) -> dict[str, dict[str, int]]:
        policies = {"on_nonfinite": self.on_nonfinite, "on_unreached": self.on_unreached}
        return {name: policy.state() for name, policy in policies.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        self.on_nonfinite.load(state["on_nonfinite"])
        self.on_unreached.load(state["on_unreached"])


def failures(
    network: nn.Module, losses: Sequence[Tensor] = (), records: Sequence[Convergence] = ()
) -> Float[Tensor, "2"]:
    """(1 if a number is not finite, 1 if an equilibrium was not reached), on their device."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    finite = get_total_norm([*gradients, *losses]).isfinite()
    flags = [f for one in records for f in (one.converged, one.gradient_converged)]
    known = [f for f in flags if f is not None]
    reached = torch.cat(known).all() if known else torch.ones_like(finite)
    return torch.stack([finite, reached]).logical_not().float()
