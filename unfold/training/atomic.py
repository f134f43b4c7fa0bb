"""How Lightning writes and reads a training state: whole or not at all."""

from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import TorchCheckpointIO

from unfold.training.checkpoint import read_checkpoint, write_checkpoint
from unfold.training.seal import PREVIOUS

REPLACES = "replaces_last"
"""A mark in a state, not written: the one before it is not kept, where one before that is."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes sealed training states whole or not at all, and keeps the one before.

    Lightning's own writer goes through the temporary folder, which on another file system makes
    the last step a copy that a kill can cut short.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        previous: Path | None = Path(path).with_name(PREVIOUS)
        if checkpoint.get(REPLACES) and previous is not None and previous.exists():
            previous = None
        state = {name: value for name, value in checkpoint.items() if name != REPLACES}
        write_checkpoint(state, Path(path), keep=previous)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))
