"""What the trainer iterates over: a PyTorch loader that starts only when it is asked for a batch.

Lightning makes its iterator before it restores a checkpoint and before it tells the epoch. A
loader with workers would fetch the first batches of the wrong epoch by then; this one waits.
"""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from unfold.data.batches import Batch, EvaluationBatches, Sample, TrainBatches, collate


class Loader:
    """Batches of a data set, the same for any number of workers.

    Args:
        dataset: of samples.
        batches: which samples each batch holds; `sampler` to Lightning, which tells it the epoch.
        workers: processes that prepare batches; 0 for none beside the trainer's own.
    """

    def __init__(
        self, dataset: Dataset[Sample], batches: TrainBatches | EvaluationBatches, workers: int
    ) -> None:
        self.sampler = batches
        self.batch_sampler = None  # Lightning reads it wherever there is a sampler
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
                generator=torch.Generator(),  # or it takes a number from the global generator
            )
        yield from self._loader

    def close(self) -> None:
        """End the workers, which wait for another epoch.

        Those that are left to the garbage collector are waited for in vain, five seconds each: the
        queue that would tell them is gone by then.
        """
        self._loader = None

    def state_dict(self) -> dict[str, int]:
        """Nothing: the position in an epoch follows from the trainer's progress.

        Lightning asks whether a loader has this method to know that it can be resumed.
        """
        return {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Nothing to restore."""
