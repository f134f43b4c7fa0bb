"""The look at a step before the weights move: finite numbers, equilibria that were reached."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from unfold.models.model import Solution
from unfold.training.guard.failures import Ending, ending, not_finite, not_reached
from unfold.training.guard.policies import Policy, Stop, Warn


class Guard:
    """Judges every step, and leaves the answer to a policy for each kind of mishap.

    Args:
        on_nonfinite: what to do where a loss or a gradient is not finite.
        on_unreached: what to do where an equilibrium or its gradient was not reached.
    """

    def __init__(self, on_nonfinite: Policy, on_unreached: Policy) -> None:
        self.on_nonfinite, self.on_unreached = on_nonfinite, on_unreached
        self._losses: list[Float[Tensor, ""]] = []
        self._endings: list[Ending] = []
        self._sees_equilibria = False

    @classmethod
    def usual(cls) -> "Guard":
        """Numbers that are not finite end it; equilibria that are not reached are counted."""
        return cls(Stop(), Warn())

    def watch(
        self, loss: Float[Tensor, ""], names: Sequence[int], solutions: Sequence[Solution]
    ) -> None:
        """Keep what a batch is judged by; a step has one or several batches.

        Args:
            loss: of the batch.
            names: the index of every image of it.
            solutions: of all its images, in their order.
        """
        self._losses.append(loss.detach())
        start = 0
        for solution in solutions:
            end = start + len(solution.residual)
            one = ending(names[start:end], solution)
            if one is not None:
                self._endings.append(one)
                self._sees_equilibria = True
            start = end

    def judge(
        self,
        step: int,
        network: nn.Module,
        where: Callable[[], str],
        together: Callable[[Tensor], Tensor],
    ) -> None:
        """Answer what is wrong with a step; of two things, the graver one.

        Args:
            step: its number.
            network: whose gradients the step takes.
            where: finds out where the numbers stopped being finite.
            together: adds a tensor up over all processes, so that all do the same.

        Raises:
            UnfoldError: a policy ends the training, or its present attempt.
        """
        losses, endings = self._losses, self._endings
        self._losses, self._endings = [], []
        # The one synchronisation of a step: two numbers, whatever the size of the network.
        nonfinite, unreached = together(mishaps(network, losses, endings)).tolist()
        if nonfinite:
            self.on_nonfinite.answer(network, lambda: not_finite(step, where))
            return
        self.on_nonfinite.passed()
        if unreached:
            self.on_unreached.answer(network, lambda: not_reached(step, endings))
        else:
            self.on_unreached.passed()

    def counts(self) -> dict[str, float]:
        """What the log shows: a step that is left out counts as one, whatever the reason."""
        found: dict[str, float] = {}
        for policy in (self.on_nonfinite, self.on_unreached):
            if policy.metric is not None:
                found[policy.metric] = found.get(policy.metric, 0.0) + policy.count
        unreached = {"train/unreached": float(self.on_unreached.count)}
        return found | (unreached if self._sees_equilibria else {})

    def state(self) -> dict[str, dict[str, int]]:
        """What a training state keeps of it."""
        return {
            "on_nonfinite": self.on_nonfinite.state(),
            "on_unreached": self.on_unreached.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore the counts of a checkpoint."""
        self.on_nonfinite.load(state["on_nonfinite"])
        self.on_unreached.load(state["on_unreached"])


def mishaps(
    network: nn.Module, losses: Sequence[Tensor] = (), endings: Sequence[Ending] = ()
) -> Float[Tensor, "2"]:
    """(1 where a number is not finite, 1 where an equilibrium was not reached), on their device."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    finite = get_total_norm([*gradients, *losses]).isfinite()
    flags = [f for one in endings for f in (one.converged, one.gradient_converged)]
    known = [f for f in flags if f is not None]
    reached = torch.cat(known).all() if known else torch.ones_like(finite)
    return torch.stack([finite, reached]).logical_not().float()
