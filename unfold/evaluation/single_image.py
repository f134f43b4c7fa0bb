"""Single images: simulated measurements and real ones, their convergence, and image files."""

import itertools
import math
import os
import warnings
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unfold.data.batches import cut_to_multiple
from unfold.data.example import Example
from unfold.data.image_reader import decode_with_facts, read_bytes, stored_pixels
from unfold.data.intensity import Interval, doubts, facts, stored_array, to_unit
from unfold.disk import expand
from unfold.errors import ConfigError, DataError, DataWarning, ShapeError, listing
from unfold.evaluation.base import anchor_of, batches, measure, solved
from unfold.evaluation.measurement_file import (
    KEPT,
    LEVEL,
    OPERATOR,
    PICTURE,
    SEED,
    described,
    measurement_file,
    read_geometry,
    stored_arrays,
    write_measurement,
)
from unfold.evaluation.metrics import ImageMetrics
from unfold.evaluation.output_files import PICTURES, suffix_of, write_image
from unfold.evaluation.records import MARKS
from unfold.evaluation.scans import cut
from unfold.physics.base import Physics
from unfold.physics.operator import Operator
from unfold.pytree import moved
from unfold.random import Draws
from unfold.reconstructor import Reconstructor, doubt_norm
from unfold.shapes import FAR_IN_FILES, expect_shape
from unfold.typing import PerImage, Shape


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
    x = truth.unsqueeze(0).to(anchor_of(reconstructor))
    draws = Draws(seed, (0,), "reconstruct")
    y, operator = physics.measure(x, draws)
    level = physics.noise_level(y, operator, draws)
    solution = reconstructor.solve(y, operator, noise_level=level)
    figures = {name: float(v) for name, v in metrics(solution.image, x).items()}
    kept = {SEED: np.array(seed)} | ({} if level is None else {LEVEL: level.cpu().numpy()})
    place, shape = measurement_file(output), tuple(truth.shape)
    write_measurement(place, y[0], shape, described(physics), operator, kept)
    write_image(output, solution.image[0])
    return figures | {"iterations": float(solution.iterations[0])}


@torch.no_grad()
def reconstruct_measured(
    reconstructor: Reconstructor,
    physics: Physics,
    operator: Operator,
    y: Tensor,
    output: Path,
    border: bool = False,
    level: PerImage | None = None,
) -> dict[str, float]:
    """Reconstruct a real measurement, without batch, write the result, cut to its `border`.

    `operator` is that of `check_measured`, so that its norm is known; `level` that of the noise,
    None where the physics states it. Returns the iterations.
    """
    reconstructor.eval()
    y = moved(y.unsqueeze(0), anchor_of(reconstructor))
    operator = operator.to_like(y)
    level = physics.known_level(y, operator) if level is None else moved(level, y)
    solution = reconstructor.solve(y, operator, noise_level=level)
    write_image(output, cut(solution.image, y)[0] if border else solution.image[0])
    return {"iterations": float(solution.iterations[0])}


def check_measured(
    y: Tensor,
    physics: Physics,
    shape: Shape | None,
    channels: int,
    *,
    picture: bool,
    operator: Operator | None = None,
) -> Operator:
    """The operator behind a measurement, without batch; refuses one of no image of the run's.

    The forward model must be deterministic, unless the `operator` is known. `shape` is that of the
    image, (C, H, W), where it comes with the measurement.

    Raises:
        ShapeError: its image has other channels than the run's.
        DataError: it is a `picture` on [0, 1], and the readings of a white image are above 1; or it
            is complex or has axes that no measurement of the run has.
    """
    where = f"a measurement of shape {tuple(y.shape)}"
    axes = "expected (C, H, W), or (H, W) of one channel, or what physics.measure gives"
    if not y.numel():
        raise DataError(f"{where} is empty; {axes}.")
    if shape is None and y.ndim == 3 and y.shape[-1] == 3 != channels and y.shape[0] > 4:
        raise ShapeError(
            f"{where} is (H, W, 3), of 3 channels, and the run has {channels}; axes are (C, H, W)."
        )
    try:
        if operator is None:
            operator = physics.operator_for(y[None], shape)
        expect_shape(type(physics).__name__, y[None], operator.measurement_shape)
    except ShapeError as error:
        raise ShapeError(f"{where}, of a run with {channels} channels: {axes}. {error}") from error
    if len(operator.image_shape) != 3:
        raise ShapeError(f"{where} is that of an image {operator.image_shape}; {axes}.")
    if y.is_complex() and not operator.complex_images:
        like = physics.observe(operator.A(operator.anchor.new_zeros((1, *operator.image_shape))))
        if not like.is_complex():
            raise DataError(f"{where} is complex, and those of {type(physics).__name__} are real.")
    own = operator.image_shape
    if own[0] != channels:
        raise ShapeError(
            f"{where} is that of an image {own} with {own[0]} channels, and the run has "
            f"{channels}; axes are (C, H, W), or (H, W, C) where C is that of the run."
        )
    doubt_norm(operator, y[None], operator.norm_bound, FAR_IN_FILES)
    if picture and operator.linear and not operator.complex_images:
        most = float(operator.A(operator.anchor.new_ones((1, *own))).abs().max())
        if most > 1 + 1e-3:
            raise DataError(
                f"a picture holds readings from 0 to 1, and those of a white image go up to "
                f"{most:.4g}; save floats as .npy, or set data.intensity_range."
            )
    return operator


def read_cropped(
    path: Path, channels: int, multiple: int, stated: Interval | None = None
) -> Tensor:
    """An image, cropped at the bottom and right to sides that are multiples of `multiple`."""
    image = _read(path, channels, stated, bounded=True)
    if image.ndim != 3 or image.shape[0] != channels or image.is_complex():
        raise DataError(f"{path}: {tuple(image.shape)}, no real image of {channels} channels.")
    if min(image.shape[-2:]) < multiple:
        raise DataError(f"The image is {tuple(image.shape[-2:])}; sides of {multiple} are needed.")
    return cut_to_multiple(image, multiple)


def read_measurement(path: Path, channels: int, stated: Interval | None = None) -> Tensor:
    """A measurement, by the rule of `data.intensity`; (H, W) is one channel.

    Args:
        path: an image; an .npy file, (C, …) or, of C channels, (H, W, C); or an .npz file that
            `write_measurement` wrote.
        channels: C, of the images of the run.
        stated: which stored values are 0 and 1; others are allowed.

    Raises:
        DataError: the file cannot be read, is not finite, or is a picture for people.
    """
    return _read(path, channels, stated, bounded=False)


def channels_of(path: Path) -> int:
    """3 of a picture that is not grey and of an array with an axis of three colours, else 1."""
    if path.suffix.lower() not in (".npy", ".npz"):
        values = stored_pixels(read_bytes(path), path.name).values
        return 1 if (values == values[..., :1]).all() else 3
    known = read_geometry(path)
    shape = known[0] if known else next(iter(stored_arrays(path).values())).shape
    return 3 if len(shape) == 3 and 3 in (shape[0], shape[-1]) else 1


def _read(path: Path, channels: int, stated: Interval | None, *, bounded: bool) -> Tensor:
    if path.suffix.lower() in (".npy", ".npz"):
        found = stored_arrays(path)
        named = [name for name in found if name not in KEPT and not name.startswith(OPERATOR)]
        array = found.get("y" if "y" in found else next(iter(named), ""), np.empty(0, object))
        if array.dtype.kind not in "buifc" or not array.ndim * array.size or len(named) > 1:
            raise DataError(
                f"{path}: expected one array of numbers, and not an empty one, got {array.dtype} "
                f"{array.shape}, of the arrays {listing(found)}."
            )
        array = array if "y" in found else _channels_first(array, channels, str(path))
        stored = stored_array(array)
        read = facts(stored, str(path), channels)
        values = to_unit(stored, stated, str(path), bounded=bounded)
        image = torch.as_tensor(values.astype(np.complex64 if values.dtype.kind == "c" else "f4"))
    else:
        data = read_bytes(path)
        if not bounded and PICTURE.encode() in data[:4096]:
            raise DataError(f"{path}: {PICTURE}. Give the .npz file that was written next to it.")
        image, read = decode_with_facts(data, str(path), channels, stated, bounded=bounded)
    for text in doubts([read], channels, stated):
        warnings.warn(text, DataWarning, stacklevel=3)
    return image


def _channels_first(array: np.ndarray, channels: int, name: str) -> np.ndarray:
    """(C, …) of (H, W), (C, …) or (H, W, C), by the channels that the run knows."""
    if array.ndim == 2 and array.shape[0] != channels:
        return array[None]
    if array.ndim != 3 or array.shape[-1] != channels:
        return array
    if array.shape[0] == channels:
        raise DataError(
            f"{name}: {array.shape} is (C, H, W) or (H, W, C), both of {channels} channels. Save "
            "it with its channels first as y of an .npz file, which is taken as it is."
        )
    return np.moveaxis(array, -1, 0)


def new_output(named: str | None, source: Path, *, simulated: bool) -> Path:
    """The file to write, which does not exist yet, nor those that are written next to it.

    Raises:
        ConfigError: there is such a file, or its format cannot be written.
    """

    def taken(path: Path) -> Path | None:
        beside = measurement_file(path)
        own = [path, beside, beside.with_suffix(".png")] if simulated else [path]
        return next((one for one in own if os.path.lexists(one)), None)

    if named is not None:
        output = expand(named, "output")
        suffix_of(output, PICTURES)
        if found := taken(output):
            raise ConfigError(
                f"output = {output}: {found} exists, and is not replaced. Remove it, or name "
                "another file."
            )
        return output
    first = Path(f"{source.stem}_reconstructed.png")
    numbered = (first.with_stem(f"{first.stem}_{i}") for i in itertools.count(2))
    return next(path for path in itertools.chain([first], numbered) if taken(path) is None)


Points = list[tuple[int, float]]
"""What was measured, and after how many steps."""


class Trace(NamedTuple):
    """Convergence of the reconstruction of one image.

    name: of the image.
    psnr: of the iterates, in dB on the range of the metrics; empty where they are too many to keep.
    residual: of each step, in the quantity that `measure` names.
    measure: relative change, relative residual or relative duality gap.
    mark: that it did not converge; empty where it did.
    """

    name: str
    psnr: Points
    residual: Points
    measure: str
    mark: str


@torch.no_grad()
def follow(
    reconstructor: Reconstructor,
    physics: Physics,
    examples: Iterable[tuple[str, Example]],
    seed: int,
    metrics: ImageMetrics,
) -> list[Trace]:
    """Reconstruct named test images (C, H, W) one by one, and record their convergence.

    The draws are those of every evaluation. A classical algorithm takes thousands of steps: it
    keeps figures, and no images.
    """
    kept, found = reconstructor.model.trains, []
    anchor = anchor_of(reconstructor)
    for batch in batches(examples, 1):
        batch = batch._replace(examples=batch.examples.like(anchor, physics.on_host))
        y, operator, level = measure(physics, batch, seed, "test")
        solution = reconstructor.solve(y, operator, keep_iterates=kept, noise_level=level)
        psnr: Points = []
        if history := solution.history:
            gap = all(math.isfinite(float(entry.gap)) for entry in history)
            residual = [(one.iteration, float(one.gap if gap else one.residual)) for one in history]
            kind = f"relative {'duality gap' if gap else 'residual'}"
        else:
            images, truth = solution.iterates, batch.images
            if truth is not None:
                psnr = list(
                    enumerate(float(metrics.psnr(x, truth, batch.examples.maximum)) for x in images)
                )
            norms = ((b - a).norm() / b.norm().clamp(min=1e-12) for a, b in pairwise(images))
            residual, kind = list(enumerate(map(float, norms), start=1)), "relative change"
        mark = MARKS.get(solved(solution).flags[0], "")
        found.append(Trace(batch.names[0], psnr, residual, kind, mark))
    return found
