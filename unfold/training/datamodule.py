"""The images of a run, as Lightning asks for them."""

import lightning.pytorch as pl

from unfold.data.image_data import ImageData
from unfold.data.loader import Loader


class Images(pl.LightningDataModule):
    """The batches of this process, and the end of the workers that prepare them.

    The data themselves know nothing of Lightning: to check them need not wait for its import.
    """

    def __init__(self, data: ImageData) -> None:
        super().__init__()
        self.data = data
        self._loaders: list[Loader] = []

    def train_dataloader(self) -> Loader:
        """Batches of crops; the trainer tells the epoch."""
        trainer = self.trainer
        share = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        return self._opened(self.data.train_loader(*share, done=self._batches_done))

    def val_dataloader(self) -> Loader:
        """Whole validation images."""
        return self._opened(self.data.evaluation_loader("validation"))

    def _batches_done(self) -> int:
        """Batches of the current epoch that the trainer has seen: not 0 only after a resume."""
        if not (self.trainer and self.trainer.training):
            return 0
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.ready

    def _opened(self, loader: Loader) -> Loader:
        self._loaders.append(loader)
        return loader

    def teardown(self, stage: str) -> None:
        """End the workers of every loader."""
        while self._loaders:
            self._loaders.pop().close()
