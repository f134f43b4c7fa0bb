"""Curves in a database of MLflow: `mlflow ui --backend-store-uri sqlite:///runs/mlflow.db`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from unfold.errors import ConfigError
from unfold.training.settings import Log

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from unfold.training.loggers.tracked import Tracked


@dataclass(frozen=True)
class MLflow(Log):
    """`metrics.csv`, and a run of MLflow that a resumed training continues.

    Args:
        uri: of the database or server; null for `mlflow.db` in the folder of all runs.
        experiment: of the runs.

    Raises:
        ConfigError: MLflow is not installed, or the address contains a password.
    """

    uri: str | None = None
    experiment: str = "unfold"

    def __post_init__(self) -> None:
        from unfold.training.loggers.tracked import require

        if urlsplit(self.uri or "").password is not None:
            raise ConfigError(
                "MLflow.uri contains a password, which every run would store: leave it out and set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
            )
        require("mlflow")

    def build(self, directory: Path) -> "Logger | None":
        return _tracked(self, directory)


def _tracked(recipe: MLflow, directory: Path) -> "Tracked":
    from filelock import FileLock
    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient
    from PIL import Image as PillowImage

    from unfold.training.loggers.tracked import Tracked

    class Database(Tracked):
        """A run of MLflow."""

        client: Any = None
        run = ""

        def begin(self, run: str | None) -> str:
            if self.client is None:
                # MLflow no longer stores plain files, but a database.
                database = directory.parent.parent / "mlflow.db"
                # MLflow fails where two jobs create the tables.
                with FileLock(database.with_name(".mlflow.lock")):
                    self.client = MlflowClient(recipe.uri or f"sqlite:///{database}")
                    self.run = run or self._new()
            return self.run

        def _new(self) -> str:
            known = self.client.get_experiment_by_name(recipe.experiment)
            place = directory.parent.parent / "mlflow"
            identifier = (
                known.experiment_id
                if known is not None
                else self.client.create_experiment(recipe.experiment, str(place))
            )
            name = f"{directory.parent.name}/{directory.name}"
            created: str = self.client.create_run(identifier, run_name=name).info.run_id
            pairs = [Param(key, value[:500]) for key, value in self.settings().items()]
            for first in range(0, len(pairs), 100):  # the largest batch that it accepts
                self.client.log_batch(created, params=pairs[first : first + 100])
            return created

        def send(self, metrics: Mapping[str, float], step: int) -> None:
            now = int(1000 * time.time())
            values = [Metric(name, value, now, step) for name, value in metrics.items()]
            self.client.log_batch(self.run, metrics=values)

        def send_picture(self, path: Path, step: int) -> None:
            with PillowImage.open(path) as picture:
                self.client.log_image(self.run, picture, key="validation", step=step)

        def finalize(self, status: str) -> None:
            super().finalize(status)
            if self.client is not None:
                ends = {"success": "FINISHED", "finished": "FINISHED"}
                self.client.set_terminated(self.run, ends.get(status, "FAILED"))

    return Database(directory, "mlflow")
