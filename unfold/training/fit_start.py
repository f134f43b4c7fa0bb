"""A start that is fitted to the training images, before the training."""

from collections.abc import Iterable

import torch
from torch import Tensor

from unfold.data.example import Batch
from unfold.errors import DataError
from unfold.initialization import pieces, readings
from unfold.physics.base import Physics
from unfold.random import Draws
from unfold.reconstructor import Reconstructor


@torch.no_grad()
def fit_start(net: Reconstructor, physics: Physics, batches: Iterable[Batch], seed: int) -> None:
    """Fit Q = XYᵀ(YYᵀ)⁻¹ of a `FittedLinear` start to measured training images.

    Raises:
        DataError: there are no true images, or fewer pieces of them than numbers of one are
            measured.
    """
    matrix: Tensor = net.get_parameter("start.matrix").detach()
    n, m = matrix.shape
    xy, yy = torch.zeros(n, m, dtype=torch.float64), torch.zeros(m, m, dtype=torch.float64)
    count = 0
    for batch in batches:
        if batch.images is None:
            text = "is fitted to true images, and some examples have none."
            raise DataError(f"start.matrix: {text} Take start=back_projection.")
        draws = Draws(seed, batch.index.tolist(), "train", batch.epoch)
        y, A = physics.given(batch.examples).measure(batch.examples, draws)
        X = pieces(A, batch.images).reshape(-1, n).double()
        Y = readings(A, y).reshape(-1, m).double()
        xy, yy, count = xy + X.mT @ Y, yy + Y.mT @ Y, count + len(X)
    rank = int(torch.linalg.matrix_rank(yy, hermitian=True))
    if rank < m:
        raise DataError(
            f"start.matrix: {count} pieces of training images, of rank {rank}, determine no map of "
            f"{m} measurements. Give more images, or raise data.crops_per_image."
        )
    matrix.copy_(torch.linalg.solve(yy, xy.mT).mT)
