"""Logs that are also sent to an experiment tracker, each value once."""

import json
from abc import abstractmethod
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.utilities import rank_zero_only

from unfold.disk import write_text
from unfold.errors import ConfigError
from unfold.extras import install_command
from unfold.training.loggers.local import Curves


def require(package: str) -> None:
    """Refuse a log whose package is missing; the extra has the name of the package.

    Raises:
        ConfigError: says how to install it.
    """
    if find_spec(package) is None:
        raise ConfigError(
            f"needs the package {package}. Run {install_command(package)}, or use CSV."
        )


class Tracked(Curves):
    """`metrics.csv`, and a tracker that is sent new values only.

    A tracker cannot delete values. Those that a resumed run computes again are bit-identical, so
    they are not sent again; a file in the run directory records what was sent.

    Args:
        directory: of the run.
        kind: the name of the tracker, and of its file.
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
        sent = self._sent
        if step < sent["step"]:
            return
        known = sent["names"] if step == sent["step"] else []
        new = {name: float(value) for name, value in metrics.items() if name not in known}
        if not new:
            return
        # Recorded first: after a kill in between, a missing value is better than a duplicate.
        self._record({"step": step, "names": [*known, *new]})
        self.send(new, step)

    @rank_zero_only
    def show(self, path: Path, step: int) -> None:
        """Send a picture, once.

        Args:
            path: of the file.
            step: of the row of the table that it belongs to.
        """
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
