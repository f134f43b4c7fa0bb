"""Local logs that stay complete and free of duplicates across interruptions: CSV, TensorBoard."""

import csv
import io
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from unfold.disk import DiskFullError, read_bytes, unwritable, write_bytes
from unfold.errors import RunError

STEP = "step"


class Curves(Logger):
    """`metrics.csv`: one row for each step at which something was logged.

    All values of a step are in one row, so the newest row is written when a later one starts. A
    column is added when its name is first logged, and existing rows are kept.

    Raises:
        RunError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        # Rows must not be appended to a truncated last row.
        self._columns, self._rows, self._rewrite = _read(path)
        self._written = len(self._rows)

    name = "curves"
    version = ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **more: Any) -> None:
        """Nothing: the run directory holds the configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        assert step is not None
        new = [name for name in metrics if name not in self._columns]
        self._columns += new
        # New columns are rare, and only the newest row is ever updated.
        self._rewrite |= bool(new) or (step in self._rows and self._written == len(self._rows))
        row = self._rows.setdefault(step, {STEP: str(step)})
        # Numbers only: what is not finite is empty.
        row |= {k: str(v) if math.isfinite(v) else "" for k, v in metrics.items()}

    @property
    def has_curves(self) -> bool:
        """Whether the curves are wherever else values go."""
        return True

    def forward(self, metrics: Mapping[str, float], step: int) -> None:
        """Send values to where else they go; nowhere unless a subclass says so."""

    def digest(self, step: int) -> str:
        """The SHA-256 of the values of all rows before a step."""
        rows = [{k: v for k, v in row.items() if v} for at, row in self._rows.items() if at < step]
        return sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()

    @rank_zero_only
    def cut(self, step: int) -> None:
        """Discard the rows of `step` and later, which are computed again.

        Raises:
            RunError: the file cannot be written.
        """
        kept = {at: row for at, row in self._rows.items() if at < step}
        self._rewrite |= len(kept) < len(self._rows)
        self._rows = kept
        self.flush()

    @rank_zero_only
    def save(self) -> None:
        """Write complete rows; where the disk is full, they wait for the next call."""
        if len(self._rows) > self._written + 1:
            with suppress(DiskFullError):
                self._write(len(self._rows) - 1)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.flush()

    @rank_zero_only
    def flush(self) -> None:
        """Write all rows.

        Raises:
            RunError: the file cannot be written.
        """
        if self._rewrite or len(self._rows) > self._written:
            self._write(len(self._rows))

    def _write(self, until: int) -> None:
        rows = list(self._rows.values())[0 if self._rewrite else self._written : until]
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        if self._rewrite:
            writer.writeheader()
        writer.writerows(rows)
        if self._rewrite:
            write_bytes(self.path, text.getvalue().encode())
        else:
            self._append(text.getvalue().encode())
        self._written, self._rewrite = until, False

    def _append(self, content: bytes) -> None:
        try:
            size = self.path.stat().st_size
            try:
                with self.path.open("ab") as file:
                    file.write(content)
            except OSError:
                os.truncate(self.path, size)  # the rows are appended again later
                raise
        except OSError as error:
            raise unwritable(self.path, error, "Free space.") from error


def _read(path: Path) -> tuple[list[str], dict[int, dict[str, str]], bool]:
    """The columns, the complete rows, and whether the last row is truncated."""
    try:
        text = read_bytes(path).decode() if path.exists() else ""
        complete = text[: text.rfind("\n") + 1]
        reader = csv.DictReader(io.StringIO(complete), restkey="")
        columns = list(reader.fieldnames or [STEP])
        rows = {int(row[STEP]): {k: v for k, v in row.items() if v} for row in reader}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise RunError(f"{path} cannot be read: {error}. Repeat with rerun=true.") from error
    return columns, rows, complete != text


class Events(TensorBoardLogger):
    """Event files under `tensorboard` in a run directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(save_dir=directory, name="tensorboard", version="")

    @property
    def has_curves(self) -> bool:
        """Whether event files are there."""
        return any(Path(self.log_dir).glob("events.*"))

    def forward(self, metrics: Mapping[str, float], step: int) -> None:
        """Write values."""
        self.log_metrics(dict(metrics), step)

    @rank_zero_only
    def cut(self, step: int) -> None:
        """Make readers discard the values of `step` and later, which are computed again."""
        if self._experiment is not None:
            self._experiment.close()
            self._experiment = None
        self._kwargs["purge_step"] = step

    @rank_zero_only
    def flush(self) -> None:
        self.experiment.flush()


def replay(logger: Logger | None, directory: Path) -> int:
    """Send the curves of a finished run to another logger; returns how many rows there are.

    Rows that the log has already are not sent again.
    """
    _, rows, _ = _read(directory / "metrics.csv")
    if not isinstance(logger, Events | Curves) or logger.has_curves:
        return 0
    for step, row in rows.items():
        logger.forward({name: float(value) for name, value in row.items() if name != STEP}, step)
    logger.finalize("success")
    return len(rows)
