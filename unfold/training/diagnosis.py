"""Where the numbers of a reconstruction stopped being finite."""

import torch

from unfold.physics.operator import Operator
from unfold.reconstructor import Reconstructor
from unfold.typing import Measurement


@torch.no_grad()
def where_not_finite(
    reconstructor: Reconstructor, y: Measurement, operator: Operator, names: list[int]
) -> str:
    """Which image, which iteration, and the values of the parameters, in one sentence.

    Args:
        reconstructor: as it was when the loss or its gradient was not finite.
        y: the measurement of the batch.
        operator: A.
        names: the index of every image of the batch.
    """
    if not bool(y.isfinite().all()):
        bad = [names[i] for i in _bad(y)]
        return f"the measurement of image {bad[0]} is not finite"
    values = reconstructor.parameter_values()
    settings = ", ".join(f"{name} = {_shown(value)}" for name, value in values.items())
    solution = reconstructor.solve(y, operator, keep_iterates=True)
    for k, image in enumerate(solution.iterates):
        bad = _bad(image)
        if bad:
            return f"image {names[bad[0]]} is not finite from iteration {k} on, with {settings}"
    return f"every iterate is finite, so the loss or the derivative is not, with {settings}"


def _bad(t: torch.Tensor) -> list[int]:
    return [i for i, one in enumerate(t.flatten(1)) if not bool(one.isfinite().all())]


def _shown(value: torch.Tensor) -> str:
    ends = sorted({f"{float(value.min()):.4g}", f"{float(value.max()):.4g}"}, key=float)
    return " to ".join(ends)
