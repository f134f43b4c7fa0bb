"""Files of simulated measurements: y with all that is needed to reconstruct from it."""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfold.arrays import read_arrays
from unfold.disk import write_bytes
from unfold.errors import DataError
from unfold.evaluation.output_files import write_image
from unfold.physics.base import Physics
from unfold.physics.noise.base import NoNoise
from unfold.physics.operator import Operator
from unfold.pytree import named_tensors, with_tensors
from unfold.random import Draws
from unfold.typing import PerImage, Shape

PICTURE = "a picture of a measurement, clipped to [0, 1], for people"
"""The comment of PNG files that are not read as measurements."""


OPERATOR, SEED, LEVEL = "operator.", "seed", "noise_level"
KEPT = ("image_shape", "physics", SEED, LEVEL)
"""What a file of a measurement may hold besides it, and the tensors of its operator by name."""

MOST = 2**24
"""Numbers of a tensor of an operator that is kept with its measurement."""


def measurement_file(output: Path) -> Path:
    """Where the measurement of a simulated reconstruction is written."""
    return output.with_name(f"{output.stem}_measurement.npz")


def described(physics: Physics) -> str:
    """The forward model without its noise: what must agree for a measurement to be its own."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(physics.with_noise(NoNoise())))


def stored_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, as of `read_arrays`; a `DataError` where it cannot be read."""
    try:
        return read_arrays(path)
    except (OSError, ValueError, EOFError) as error:
        kind = path.suffix.lower()
        raise DataError(f"{path}: not a readable {kind} file ({error}).") from error


def read_geometry(path: Path) -> tuple[Shape, str] | None:
    """The shape of the image and the forward model that came with a measurement, or None."""
    if path.suffix.lower() != ".npz":
        return None
    found = stored_arrays(path)
    if not {"image_shape", "physics"} <= found.keys():
        return None
    shape = found["image_shape"]
    if shape.shape != (3,) or shape.dtype.kind not in "iu" or shape.min() < 1:
        raise DataError(f"{path}: image_shape is {shape}; expected three whole numbers, C, H, W.")
    return tuple(shape.tolist()), str(found["physics"])


def read_case(
    path: Path, physics: Physics, shape: Shape | None
) -> tuple[Operator | None, PerImage | None]:
    """The operator and the noise level of a file that `write_measurement` wrote; None without.

    `shape` is that of the image, as `read_geometry` gives it.

    Raises:
        DataError: the operator is not one that the forward model samples; no number where there
            should be one.
    """
    found = stored_arrays(path) if path.suffix.lower() == ".npz" else {}
    for name, kinds in ((SEED, "iu"), (LEVEL, "f")):
        if name in found and (found[name].size != 1 or found[name].dtype.kind not in kinds):
            raise DataError(f"{path}: {name} is {found[name]}; expected one number.")
    level = torch.as_tensor(found[LEVEL]) if LEVEL in found else None
    if shape is None or physics.is_deterministic or SEED not in found:
        return None, level
    # The draws determine which operator of a mixture it is; its parameters are those of the file.
    draws = Draws(int(found[SEED].flat[0]), (0,), "reconstruct")
    like = physics.measure(torch.zeros(1, *shape), draws).operator
    values = []
    for name, t in named_tensors(like).items():
        own = found.get(f"{OPERATOR}{name}", np.empty(0, object))
        if own.shape != t.shape or own.dtype != t.numpy().dtype or not np.isfinite(own).all():
            raise DataError(
                f"{path}: {OPERATOR}{name} is {own.dtype} {own.shape}; expected finite numbers of "
                f"{t.numpy().dtype} {tuple(t.shape)}. Simulate the measurement again, input=IMAGE."
            )
        values.append(torch.as_tensor(own))
    return with_tensors(like, values), level


def write_measurement(
    path: Path,
    y: Tensor,
    shape: Shape,
    physics: str = "",
    operator: Operator | None = None,
    others: Mapping[str, Any] = {},
) -> None:
    """Write a measurement with its geometry as .npz, to be read again; and a picture, for people.

    Args:
        path: of the .npz file; the picture, where y is like an image, has the suffix .png.
        y: without batch.
        shape: of the image, (C, H, W).
        physics: its forward model.
        operator: that measured it; each of its tensors that is not too large has its own name.
        others: the noise level and the seed, by their names in the file.
    """
    content = io.BytesIO()
    named = ((f"{OPERATOR}{name}", t.cpu()) for name, t in named_tensors(operator).items())
    parts: dict[str, Any] = {
        n: t.numpy() for n, t in named if t.layout is torch.strided and t.numel() <= MOST
    }
    known = {"image_shape": np.array(shape), "physics": np.array(physics), **others}
    np.savez(content, y=y.cpu().numpy(), **known, **parts)
    write_bytes(path, content.getvalue())
    if y.ndim == 3 and y.shape[0] in (1, 3) and not y.is_complex():
        write_image(path.with_suffix(".png"), y, PICTURE)
