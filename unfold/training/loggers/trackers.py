"""Logs that are also sent to an experiment tracker, each value once: MLflow, Weights & Biases."""

import json
import time
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml
from filelock import FileLock
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image as PillowImage

from unfold.disk import write_text
from unfold.errors import ConfigError
from unfold.extras import install_command
from unfold.training.loggers.local import Curves
from unfold.training.settings import Log


def require(package: str) -> None:
    """Refuse a log whose package is missing; the extra has the name of the package."""
    if find_spec(package) is None:
        raise ConfigError(
            f"needs the package {package}. Run {install_command(package)}, or use CSV."
        )


class Tracked(Curves):
    """`metrics.csv`, and a tracker that is sent new values only.

    A tracker cannot delete values. Those that a resumed run computes again are bit-identical, so
    they are not sent again; a file in the run directory, of the name of the tracker, records what
    was sent.
    """

    def __init__(self, directory: Path, kind: str) -> None:
        super().__init__(directory / "metrics.csv")
        self.directory = directory
        self._file = directory / f"{kind}.json"
        self._sent: dict[str, Any] = {"run": None, "step": -1, "names": [], "picture": -1}
        if self._file.exists():
            self._sent |= json.loads(self._file.read_text(encoding="utf-8"))

    @abstractmethod
    def begin(self, run: str | None) -> str:
        """Open a run of the tracker, or a new one; return its name."""

    @abstractmethod
    def send(self, metrics: Mapping[str, float], step: int) -> None:
        """Send values to the tracker."""

    @abstractmethod
    def send_picture(self, path: Path, step: int) -> None:
        """Send a picture of a validation to the tracker."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics(metrics, step)
        assert step is not None
        self.forward(metrics, step)

    @property
    def has_curves(self) -> bool:
        return bool(self._sent["run"])

    def forward(self, metrics: Mapping[str, float], step: int) -> None:
        sent = self._sent
        known = sent["names"] if step == sent["step"] else []
        new = {name: float(value) for name, value in metrics.items() if name not in known}
        if step < sent["step"] or not new:
            return
        # Recorded first: after a kill in between, a missing value is better than a duplicate.
        self._record({"step": step, "names": [*known, *new]})
        self.send(new, step)

    @rank_zero_only
    def show(self, path: Path, step: int) -> None:
        """Send a picture, once; `step` is that of the row of the table that it belongs to."""
        if step > self._sent["picture"]:
            self._record({"picture": step})
            self.send_picture(path, step)

    def _record(self, sent: Mapping[str, Any]) -> None:
        """Open the run of the tracker, and record what is sent."""
        self._sent |= {"run": self.begin(self._sent["run"]), **sent}
        write_text(self._file, json.dumps(self._sent))

    def settings(self) -> dict[str, str]:
        """The configuration of the run by full keys; empty before it is written."""
        path = self.directory / "config.yaml"
        node = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
        return dict(_flat(node, ""))


def _flat(node: Any, path: str) -> list[tuple[str, str]]:
    if not isinstance(node, dict):
        return [(path, str(node))]
    dot = f"{path}." if path else ""
    return [pair for key, value in node.items() for pair in _flat(value, f"{dot}{key}")]


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
        require("mlflow")

    def build(self, directory: Path) -> "MLflowRun":
        return MLflowRun(directory, self)


class MLflowRun(Tracked):
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
        require("wandb")

    def build(self, directory: Path) -> "WandBRun":
        return WandBRun(directory, self)


class WandBRun(Tracked):
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
