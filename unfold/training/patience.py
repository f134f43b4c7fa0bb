"""An end to a training that no longer improves."""

from typing import Any

import lightning.pytorch as pl

from unfold.training.states import TrainingStates


class EarlyStopping(pl.Callback):
    """Ends the training after some validations in a row that are no better than the best before.

    Args:
        patience: how many validations.
        states: knows the objective, and what is better.
    """

    def __init__(self, patience: int, states: TrainingStates) -> None:
        self.patience, self._states = patience, states
        self._best: float | None = None
        self._waited = 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count, and ask for the end where patience is over."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        score = float(trainer.callback_metrics[self._states.objective])
        if self._states.improves(score, self._best) and score != self._best:
            self._best, self._waited = score, 0
        else:
            self._waited += 1
        self._ask(trainer)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A training that had ended ends at once where it is continued."""
        self._ask(trainer)

    def _ask(self, trainer: pl.Trainer) -> None:
        if self._waited >= self.patience:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "waited": self._waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best, self._waited = state_dict["best"], state_dict["waited"]
