"""Curves in Weights & Biases: offline files for `wandb sync`, or online."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unfold.training.loggers import tracked
from unfold.training.settings import Log


@dataclass(frozen=True)
class WandB(Log):
    """`metrics.csv`, and files under `wandb`; a resumed training adds files to the same run.

    Args:
        project: of the runs.
        mode: `online` sends values during training.
    """

    project: str = "unfold"
    mode: Literal["offline", "online"] = "offline"

    def __post_init__(self) -> None:
        tracked.require("wandb")

    def build(self, directory: Path) -> "WandBRun":
        return WandBRun(directory, self)


class WandBRun(tracked.Tracked):
    """A run of Weights & Biases."""

    def __init__(self, directory: Path, settings: WandB) -> None:
        super().__init__(directory, "wandb")
        self._log = settings
        self._run: Any = None

    def begin(self, run: str | None) -> str:
        import wandb

        folder = self.directory.parent.name
        name = run or f"{folder}-{self.directory.name}"[-64:]
        if self._run is None:
            self._run = wandb.init(
                project=self._log.project,
                id=name,
                name=f"{folder}/{self.directory.name}",
                dir=self.directory,
                mode=self._log.mode,
                resume="allow" if self._log.mode == "online" else None,
                config=self.settings(),
                settings=wandb.Settings(silent=True, console="off"),
            )
        return name

    def send(self, metrics: Mapping[str, float], step: int) -> None:
        self._run.log(dict(metrics), step=step)

    def send_picture(self, path: Path, step: int) -> None:
        import wandb

        self._run.log({"validation": wandb.Image(str(path))}, step=step)

    def finalize(self, status: str) -> None:
        super().finalize(status)
        if self._run is not None:
            self._run.finish(exit_code=0 if status in ("success", "finished") else 1)
            self._run = None
