"""Curves in Weights & Biases: offline files for `wandb sync`, or online."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unfold.training.settings import Log

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from unfold.training.loggers.tracked import Tracked


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
        from unfold.training.loggers.tracked import require

        require("wandb")

    def build(self, directory: Path) -> "Logger | None":
        return _tracked(self, directory)


def _tracked(recipe: WandB, directory: Path) -> "Tracked":
    import wandb

    from unfold.training.loggers.tracked import Tracked

    class Files(Tracked):
        """A run of Weights & Biases."""

        run: Any = None

        def begin(self, run: str | None) -> str:
            name = run or f"{directory.parent.name}-{directory.name}"[-64:]
            if self.run is None:
                self.run = wandb.init(
                    project=recipe.project,
                    id=name,
                    name=f"{directory.parent.name}/{directory.name}",
                    dir=directory,
                    mode=recipe.mode,
                    resume="allow" if recipe.mode == "online" else None,
                    config=self.settings(),
                    settings=wandb.Settings(silent=True, console="off"),
                )
            return name

        def send(self, metrics: Mapping[str, float], step: int) -> None:
            self.run.log(dict(metrics), step=step)

        def send_picture(self, path: Path, step: int) -> None:
            self.run.log({"validation": wandb.Image(str(path))}, step=step)

        def finalize(self, status: str) -> None:
            super().finalize(status)
            if self.run is not None:
                self.run.finish(exit_code=0 if status in ("success", "finished") else 1)
                self.run = None

    return Files(directory, "wandb")
