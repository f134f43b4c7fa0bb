"""One image: measured and reconstructed, or reconstructed from a real measurement."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from unfold.arrays import read_arrays
from unfold.data.image_reader import read_image
from unfold.disk import write_bytes
from unfold.errors import ConfigError, DataError, listing
from unfold.evaluation.metrics import ImageMetrics
from unfold.physics.base import Physics
from unfold.random import Draws
from unfold.reconstructor import Reconstructor


@torch.no_grad()
def reconstruct(
    reconstructor: Reconstructor,
    physics: Physics,
    *,
    image: Path | None,
    measurement: Path | None,
    channels: int,
    multiple_of: int,
    output: Path,
    metrics: ImageMetrics,
    seed: int,
) -> dict[str, float]:
    """Reconstruct one file and write the result as an image; an .npy file keeps all digits.

    Args:
        reconstructor: with its weights.
        physics: the law; of a real measurement it must have one point.
        image: an image whose measurement is simulated.
        measurement: a real measurement, an image file or an .npy file in the shape it has.
        channels: of the images.
        multiple_of: a simulated image is cropped at the bottom and the right to such sides.
        output: the file written.
        metrics: of a simulated one.
        seed: of the simulated draws.

    Returns:
        The metrics where the truth is known, and the steps taken.
    """
    reconstructor.eval()
    if image is not None:
        truth = _cropped(read_image(image, channels), multiple_of).unsqueeze(0)
        y, operator = physics.measure(truth, Draws(seed, (0,), "reconstruct"))
        solution = reconstructor.solve(y, operator)
        figures = {name: float(v) for name, v in metrics(solution.image, truth).items()}
        write_measurement(output.with_name(f"{output.stem}_measurement.png"), y[0])
    else:
        assert measurement is not None
        y = read_measurement(measurement, channels).unsqueeze(0)
        solution = reconstructor.solve(y, physics.operator_for(y))
        figures = {}
    write_image(output, solution.image[0])
    return figures | {"iterations": float(solution.iterations[0])}


def _cropped(image: Tensor, multiple: int) -> Tensor:
    height, width = (side - side % multiple for side in image.shape[-2:])
    if not height or not width:
        raise DataError(f"The image is {tuple(image.shape[-2:])}; sides of {multiple} are needed.")
    return image[..., :height, :width]


def read_measurement(path: Path, channels: int) -> Tensor:
    """A measurement: an image file in [0, 1], or an .npy file as it is; (H, W) is one channel.

    Whether its shape is that of the operator is for the operator to say.

    Raises:
        DataError: the file cannot be read as that, or is not finite.
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
    """Write a measurement as an image where it is one, and as it is in an .npy file otherwise."""
    picture = y.ndim == 3 and y.shape[0] in (1, 3) and not y.is_complex()
    write_image(path if picture else path.with_suffix(".npy"), y)


def expect_kind(output: Path) -> None:
    """Refuse the name of an image file that cannot be written.

    Raises:
        ConfigError: names the kinds there are.
    """
    kinds = (".npy", ".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
    if output.suffix.lower() not in kinds:
        raise ConfigError(
            f"output = {output}: no such kind of image file. Allowed: {listing(kinds)}."
        )


def write_image(path: Path, image: Tensor) -> None:
    """Write (C, H, W), clipped to [0, 1], as an 8-bit image, or as it is in an .npy file."""
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
