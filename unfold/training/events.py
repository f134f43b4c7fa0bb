"""The event files of TensorBoard, in which a training that goes on repeats no step."""

from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only


class Events(TensorBoardLogger):
    """Event files under `tensorboard` in a run directory.

    Args:
        directory: of the run.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(save_dir=directory, name="tensorboard", version="")

    @rank_zero_only
    def cut(self, step: int) -> None:
        """Make readers forget the values of `step` and after, which are made again."""
        if self._experiment is not None:
            self._experiment.close()
            self._experiment = None
        self._kwargs["purge_step"] = step

    @rank_zero_only
    def flush(self) -> None:
        """Write all values."""
        self.experiment.flush()
