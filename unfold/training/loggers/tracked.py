"""Curves that a tracker of experiments is sent as well, each value once."""

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
    """Refuse a log whose package is missing; its extra has the name of the package.

    Raises:
        ConfigError: says how to install it.
    """
    if find_spec(package) is None:
        raise ConfigError(
            f"needs the package {package}. Write {install_command(package)}, or take logger=csv."
        )


class Tracked(Curves):
    """`metrics.csv`, and a tracker that is sent what was not sent before.

    A tracker cannot forget. What a run that goes on measures again has the same bits as before, so
    it is left out; a file in the run directory says how far the tracker is. Only where a training
    is rolled back do the values differ: then the tracker has the first ones, the table the last.

    Args:
        directory: of the run.
        kind: the name of the tracker, and of its file.
    """

    def __init__(self, directory: Path, kind: str) -> None:
        super().__init__(directory / "metrics.csv")
        self.directory = directory
        self._note = directory / f"{kind}.json"
        self._sent: dict[str, Any] = {"run": None, "step": -1, "names": [], "picture": -1}
        if self._note.exists():
            self._sent |= json.loads(self._note.read_text(encoding="utf-8"))

    @abstractmethod
    def begin(self, run: str | None) -> str:
        """Open the run of the tracker, a new one where there is none; return its name."""

    @abstractmethod
    def send(self, metrics: Mapping[str, float], step: int) -> None:
        """Give values to the tracker."""

    @abstractmethod
    def send_picture(self, path: Path, step: int) -> None:
        """Give a picture of a validation to the tracker."""

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
        # Noted first: of a kill between the two lines, a missing value is better than a double one.
        self._note_down({"step": step, "names": [*known, *new]})
        self.send(new, step)

    @rank_zero_only
    def show(self, path: Path, step: int) -> None:
        """Send a picture, once.

        Args:
            path: of the file.
            step: of the row of the table that it goes with.
        """
        if step > self._sent["picture"]:
            self._note_down({"picture": step})
            self.send_picture(path, step)

    def _note_down(self, sent: Mapping[str, Any]) -> None:
        """Open the run of the tracker, and keep what it is sent."""
        self._sent |= {"run": self.begin(self._sent["run"]), **sent}
        write_text(self._note, json.dumps(self._sent))

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
