"""The images of a run as a LightningDataModule."""

import lightning.pytorch as pl

from unfold.data.image_data import ImageData
from unfold.data.loader import Loader


class DataModule(pl.LightningDataModule):
    """The batches of this process; ends the loader workers on teardown.

    `ImageData` does not depend on Lightning, so that images are checked without importing it.
    """

    def __init__(self, data: ImageData) -> None:
        super().__init__()
        self.data = data
        self._loaders: list[Loader] = []

    def train_dataloader(self) -> Loader:
        """Batches of crops; the trainer sets the epoch."""
        trainer = self.trainer
        share = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        return self._open(self.data.train_loader(*share, done=self._batches_done))

    def val_dataloader(self) -> Loader:
        """Full validation images."""
        return self._open(self.data.evaluation_loader("validation"))

    def _batches_done(self) -> int:
        """Batches of the current epoch that were trained on; not 0 only after a resume."""
        if not (self.trainer and self.trainer.training):
            return 0
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.ready

    def _open(self, loader: Loader) -> Loader:
        self._loaders.append(loader)
        return loader

    def teardown(self, stage: str) -> None:
        """End the workers of every loader."""
        while self._loaders:
            self._loaders.pop().close()
