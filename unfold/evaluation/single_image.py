"""Single images: simulated measurements and real ones, their convergence, and image files."""

import io
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from unfold.arrays import read_arrays
from unfold.data.batches import cut_to_multiple
from unfold.data.image_reader import read_image
from unfold.disk import write_bytes
from unfold.errors import ConfigError, DataError, listing
from unfold.evaluation.base import ImageBatch, batches, measure
from unfold.evaluation.metrics import ImageMetrics
from unfold.physics.base import Physics
from unfold.random import Draws
from unfold.reconstructor import Reconstructor


@torch.no_grad()
def reconstruct_simulated(
    reconstructor: Reconstructor,
    physics: Physics,
    truth: Tensor,
    output: Path,
    metrics: ImageMetrics,
    seed: int,
) -> dict[str, float]:
    """Simulate the measurement of a (C, H, W) image in [0, 1], reconstruct it and write both.

    An .npy file keeps all digits. Returns the metrics, and the iterations taken.
    """
    reconstructor.eval()
    x = truth.unsqueeze(0)
    draws = Draws(seed, (0,), "reconstruct")
    y, operator = physics.measure(x, draws)
    level = physics.noise_level(y, operator, draws)
    solution = reconstructor.solve(y, operator, noise_level=level)
    figures = {name: float(v) for name, v in metrics(solution.image, x).items()}
    write_measurement(output.with_name(f"{output.stem}_measurement.png"), y[0])
    write_image(output, solution.image[0])
    return figures | {"iterations": float(solution.iterations[0])}


@torch.no_grad()
def reconstruct_measured(
    reconstructor: Reconstructor, physics: Physics, y: Tensor, output: Path
) -> dict[str, float]:
    """Reconstruct a real measurement, without batch, and write the result.

    The forward model must be deterministic; an .npy file keeps all digits. Returns the iterations.
    """
    reconstructor.eval()
    y = y.unsqueeze(0)
    solution = reconstructor.solve(y, physics)
    write_image(output, solution.image[0])
    return {"iterations": float(solution.iterations[0])}


def read_cropped(path: Path, channels: int, multiple: int) -> Tensor:
    """An image, cropped at the bottom and right to sides that are multiples of `multiple`."""
    image = read_image(path, channels)
    if min(image.shape[-2:]) < multiple:
        raise DataError(f"The image is {tuple(image.shape[-2:])}; sides of {multiple} are needed.")
    return cut_to_multiple(image, multiple)


def read_measurement(path: Path, channels: int) -> Tensor:
    """A measurement: an image file in [0, 1], or an .npy file as it is; (H, W) is one channel.

    The operator checks its shape.

    Raises:
        DataError: the file cannot be read, or is not finite.
    """
    if path.suffix.lower() != ".npy":
        return read_image(path, channels)
    try:
        (array,) = read_arrays(path).values()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable .npy file ({error}).") from error
    array = np.asarray(array)
    if array.dtype.kind not in "buifc" or not array.ndim:
        raise DataError(f"{path}: expected an array of numbers, got {array.dtype} {array.shape}.")
    kind = np.complex64 if array.dtype.kind == "c" else np.float32
    values = torch.as_tensor(array.astype(kind))
    values = values.unsqueeze(0) if values.ndim == 2 else values
    if not bool(values.isfinite().all()):
        raise DataError(f"{path}: {int((~values.isfinite()).sum())} values are not finite.")
    return values


def write_measurement(path: Path, y: Tensor) -> None:
    """Write a measurement as an image where it is one, and as an .npy file otherwise."""
    picture = y.ndim == 3 and y.shape[0] in (1, 3) and not y.is_complex()
    write_image(path if picture else path.with_suffix(".npy"), y)


def check_output(output: Path) -> None:
    """Refuse a file name whose format cannot be written."""
    kinds = (".npy", ".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
    if output.suffix.lower() not in kinds:
        raise ConfigError(
            f"output = {output}: no such kind of image file. Allowed: {listing(kinds)}."
        )


def write_image(path: Path, image: Tensor) -> None:
    """Write (C, H, W), clipped to [0, 1], as an 8-bit image; or unclipped as an .npy file."""
    content = io.BytesIO()
    if path.suffix.lower() == ".npy":
        np.save(content, image.cpu().numpy())
        write_bytes(path, content.getvalue())
        return
    values = image.abs() if image.is_complex() else image
    array = (values.clamp(0, 1) * 255).round().byte().cpu().numpy()
    picture = PillowImage.fromarray(array[0] if len(array) == 1 else np.moveaxis(array, 0, -1))
    picture.save(content, format=PillowImage.registered_extensions()[path.suffix.lower()])
    write_bytes(path, content.getvalue())


Points = list[tuple[int, float]]
"""What was measured, and after how many steps."""


class Trace(NamedTuple):
    """Convergence of the reconstruction of one image.

    name: of the image.
    psnr: of the iterates, in dB on the range [0, 1]; empty where they are too many to keep.
    residual: of each step, in the quantity that `measure` names.
    measure: relative change, relative residual or relative duality gap.
    """

    name: str
    psnr: Points
    residual: Points
    measure: str


@torch.no_grad()
def follow(
    reconstructor: Reconstructor, physics: Physics, images: Sequence[tuple[str, Tensor]], seed: int
) -> list[Trace]:
    """Reconstruct named test images (C, H, W) one by one, and record their convergence.

    The draws are those of every evaluation.
    """
    return [_trace(reconstructor, physics, batch, seed) for batch in batches(images, 1)]


def _trace(reconstructor: Reconstructor, physics: Physics, batch: ImageBatch, seed: int) -> Trace:
    y, operator, level = measure(physics, batch, seed, "test")
    # A classical algorithm takes thousands of steps: it keeps figures, and no images.
    kept = reconstructor.model.trains
    solution = reconstructor.solve(y, operator, keep_iterates=kept, noise_level=level)
    (name,) = batch.names
    if history := solution.history:
        gap = all(math.isfinite(float(entry.gap)) for entry in history)
        residual = [(one.iteration, float(one.gap if gap else one.residual)) for one in history]
        return Trace(name, [], residual, f"relative {'duality gap' if gap else 'residual'}")
    images = solution.iterates
    errors = [float((image - batch.images).abs().square().mean()) for image in images]
    psnr = [(k, -10 * math.log10(max(error, 1e-12))) for k, error in enumerate(errors)]
    changes = [float((b - a).norm() / b.norm().clamp(min=1e-12)) for a, b in pairwise(images)]
    return Trace(name, psnr, list(enumerate(changes, start=1)), "relative change")
