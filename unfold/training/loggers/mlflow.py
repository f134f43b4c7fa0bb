"""Curves in a database of MLflow: `mlflow ui --backend-store-uri sqlite:///runs/mlflow.db`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock
from PIL import Image as PillowImage

from unfold.errors import ConfigError
from unfold.training.loggers import tracked
from unfold.training.settings import Log


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
        if urlsplit(self.uri or "").password is not None:
            raise ConfigError(
                "MLflow.uri contains a password, which every run would store: leave it out and set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
            )
        tracked.require("mlflow")

    def build(self, directory: Path) -> "MLflowRun":
        return MLflowRun(directory, self)


class MLflowRun(tracked.Tracked):
    """A run of MLflow."""

    def __init__(self, directory: Path, settings: MLflow) -> None:
        super().__init__(directory, "mlflow")
        self._log = settings
        self._client: Any = None
        self._run = ""

    def begin(self, run: str | None) -> str:
        if self._client is None:
            from mlflow.tracking import MlflowClient

            # MLflow no longer stores plain files, but a database.
            database = self.directory.parent.parent / "mlflow.db"
            # MLflow fails where two jobs create the tables.
            with FileLock(database.with_name(".mlflow.lock")):
                self._client = MlflowClient(self._log.uri or f"sqlite:///{database}")
                self._run = run or self._new()
        return self._run

    def _new(self) -> str:
        from mlflow.entities import Param

        client, folder = self._client, self.directory.parent
        known = client.get_experiment_by_name(self._log.experiment)
        if known is not None:
            experiment = known.experiment_id
        else:
            place = str(folder.parent / "mlflow")
            experiment = client.create_experiment(self._log.experiment, place)
        name = f"{folder.name}/{self.directory.name}"
        created: str = client.create_run(experiment, run_name=name).info.run_id
        pairs = [Param(key, value[:500]) for key, value in self.settings().items()]
        for first in range(0, len(pairs), 100):  # the largest batch that it accepts
            client.log_batch(created, params=pairs[first : first + 100])
        return created

    def send(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        values = [Metric(name, value, now, step) for name, value in metrics.items()]
        self._client.log_batch(self._run, metrics=values)

    def send_picture(self, path: Path, step: int) -> None:
        with PillowImage.open(path) as picture:
            self._client.log_image(self._run, picture, key="validation", step=step)

    def finalize(self, status: str) -> None:
        super().finalize(status)
        if self._client is not None:
            ends = {"success": "FINISHED", "finished": "FINISHED"}
            self._client.set_terminated(self._run, ends.get(status, "FAILED"))
