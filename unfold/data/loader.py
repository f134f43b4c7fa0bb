"""A PyTorch loader that starts when the first batch is requested.

Lightning makes the iterator before it restores a checkpoint and sets the epoch. A loader with
workers would already fetch batches of the wrong epoch; this one waits.
"""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from unfold.data.batches import Batch, EvaluationBatches, Sample, TrainBatches, collate


class Loader:
    """Batches of a data set, the same for any number of workers.

    Args:
        dataset: of samples.
        batches: which samples each batch holds; Lightning calls it `sampler`, and sets its epoch.
        workers: processes that prepare batches; 0 for none besides the trainer's.
    """

    def __init__(
        self, dataset: Dataset[Sample], batches: TrainBatches | EvaluationBatches, workers: int
    ) -> None:
        self.sampler = batches
        self.batch_sampler = None  # read by Lightning wherever there is a sampler
        self._dataset, self._workers = dataset, workers
        self._loader: DataLoader[Sample] | None = None

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        if self._loader is None:
            self._loader = DataLoader(
                self._dataset,
                batch_sampler=self.sampler,
                num_workers=self._workers,
                collate_fn=collate,
                persistent_workers=self._workers > 0,
                generator=torch.Generator(),  # or it draws from the global generator
            )
        yield from self._loader

    def close(self) -> None:
        """End the workers.

        Left to the garbage collector, each would block for five seconds: their queue is gone by
        then.
        """
        self._loader = None

    def state_dict(self) -> dict[str, int]:
        """Empty: the position in an epoch follows from the trainer's progress.

        Lightning resumes only loaders with this method.
        """
        return {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Nothing to restore."""
