"""What an evaluation shows: pictures of 8 bits, and the numbers of its figures, kept for a report.

Every picture is an array: whoever shows it encodes it anew, so that nothing of a file is displayed
as it is.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from unfold.arrays import FREE, read_arrays
from unfold.disk import write_bytes
from unfold.errors import DataError
from unfold.evaluation.base import Shown
from unfold.evaluation.metrics import magnitude
from unfold.evaluation.records import MARKS

ERROR_SCALE = 0.2
"""The error at the end of its colour bar, of an image in [0, 1]."""

SIDE = 256
"""Pixels of the central part of an image that is kept."""

PICTURES, NUMBERS = "shown.npz", "shown.json"
"""The files: of pictures, and of what they are with the numbers of the other figures."""

MOST = 2**24
"""Bytes of a file that is read back: a hundred times what an evaluation writes."""

LETTERS = 200
"""The most of a text that is shown."""

VIEWS = ("truth", "measurement", "baseline", "ours", "error")


class Views(NamedTuple):
    """One example as pictures, (H, W) or (H, W, 3), of 8 bits, by the names of `VIEWS`.

    lines: what each is, under it.
    method: what made the baseline, in words.
    placed: whether the measurement is an image too, on this grid or on a coarser one.
    """

    condition: str
    noise: str
    name: str
    lines: Mapping[str, str]
    pictures: Mapping[str, np.ndarray]
    method: str = ""
    placed: bool = True


def named(method: str) -> str:
    """A method in words: total variation, wiener, cg sense."""
    return "total variation" if method == "tv" else method.replace("_", " ")


def views(one: Shown) -> Views:
    """The pictures of an example; without a truth there is no error."""
    ours = magnitude(one.ours)
    found = {
        "measurement": picture(one.measurement) if one.pictured else _linear(one.measurement),
        "ours": picture(ours),
    }
    if one.baseline is not None:
        found["baseline"] = picture(magnitude(one.baseline))
    if one.truth is not None:
        truth = magnitude(one.truth)
        error = (ours - truth).abs().mean(0, keepdim=True) / ERROR_SCALE
        found |= {"truth": picture(truth), "error": error[0].clamp(max=1).cpu().numpy()}
    lines = {"measurement": "" if one.pictured else "back-projection"}
    for name, psnr, flag in zip(("baseline", "ours"), one.psnr, one.flags, strict=True):
        mark = MARKS.get(flag, "").partition(":")[0]
        lines[name] = ", ".join(filter(None, ("" if np.isnan(psnr) else f"{psnr:.2f} dB", mark)))
    condition, method = one.condition, named(one.method)
    placed = not one.pictured or condition.physics.photographic
    factor = coarser(found["measurement"], found["ours"]) if placed else 1
    sides = {"measurement": SIDE // factor}
    kept = {name: _central(found[name], sides.get(name, SIDE)) for name in VIEWS if name in found}
    return Views(condition.name, condition.noise, one.name, lines, kept, method, placed)


def coarser(array: np.ndarray, like: np.ndarray) -> int:
    """By what number of pixels of one image a pixel of another one, (H, W, …), is as wide."""
    return max(1, round(float(like.shape[0] / array.shape[0])))


def _central(array: np.ndarray, side: int) -> np.ndarray:
    top, left = (max(0, size - side) // 2 for size in array.shape[:2])
    part = array[top : top + side, left : left + side]
    return (255 * part.clip(0, 1)).round().astype(np.uint8)


def _linear(image: Tensor) -> Any:
    """The magnitude of a back-projection, whose largest values are white if they are above 1."""
    array = magnitude(image).cpu().numpy()
    array = array / max(1.0, float(np.quantile(array, 0.999)))
    return array[0] if len(array) == 1 else np.moveaxis(array[:3], 0, -1)


def picture(image: Tensor) -> Any:
    """An image as an array that is shown: gray (H, W) or colour (H, W, 3), in [0, 1].

    A complex measurement is k-space: the logarithm of its magnitude, the zero frequency in the
    centre. Anything else that is no image is one log-scaled magnitude.
    """
    array = image.detach().cpu().numpy()
    if np.iscomplexobj(array) and array.ndim == 3:
        array = np.fft.fftshift(array, (-2, -1))
    proper = array.ndim == 3 and array.shape[0] in (1, 3) and not np.iscomplexobj(array)
    if not proper or array.max(initial=0) > 2:  # projections, not noisy images
        return _magnitude(array)
    array = array.clip(0, 1)
    return array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)


def _magnitude(array: Any) -> Any:
    """One gray picture of any array: the log of the magnitude, summed over channels."""
    size = np.abs(array)
    if size.ndim == 2:
        size = size[None]
    if size.ndim != 3:
        side = int(np.ceil(np.sqrt(size.size)))
        size = np.pad(size.ravel(), (0, side * side - size.size)).reshape(1, side, side)
    size = np.sqrt((size**2).sum(0))
    bright = np.log1p(100 * size / (size.max() or 1.0))
    return bright / np.log1p(100)


def write_pictures(folder: Path, examples: Sequence[Views]) -> list[dict[str, Any]]:
    """Write `shown.npz`, the arrays `NUMBER_NAME`, and return what each example is."""
    content = io.BytesIO()
    arrays: dict[str, Any] = {
        f"{i}_{n}": a for i, one in enumerate(examples) for n, a in one.pictures.items()
    }
    np.savez_compressed(content, **arrays)
    write_bytes(folder / PICTURES, content.getvalue())
    return [
        {key: value for key, value in e._asdict().items() if key != "pictures"} for e in examples
    ]


def read_pictures(folder: Path, stored: Sequence[Mapping[str, Any]]) -> list[Views]:
    """The examples of `write_pictures`; what is no picture of at most `SIDE` pixels is refused.

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    try:
        arrays = _bounded(folder / PICTURES) if stored else {}
        found = []
        for i, one in enumerate(stored):
            own = {n: arrays[f"{i}_{n}"] for n in VIEWS if f"{i}_{n}" in arrays}
            if "ours" not in own:
                raise ValueError(f"there is no {i}_ours")
            for kind, array in own.items():
                flat = array.ndim == 2 or (array.shape[2:] == (3,) and kind != "error")
                small = array.size > 0 and max(array.shape) <= SIDE
                if array.dtype != np.uint8 or not flat or not small:
                    raise ValueError(f"an array of {array.shape}, {array.dtype}")
            lines = {str(k): str(v)[:LETTERS] for k, v in dict(one["lines"]).items()}
            texts = {"method": "baseline"} | dict(one)  # which was not always kept
            words: dict[str, Any] = {
                k: str(texts[k])[:LETTERS] for k in ("condition", "noise", "name", "method")
            }
            found.append(Views(lines=lines, pictures=own, **words))
        return found
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{folder / PICTURES}: cannot be shown ({error}). Evaluate again."
        ) from error


def _bounded(file: Path) -> dict[str, np.ndarray]:
    if (size := file.stat().st_size) > MOST:
        raise ValueError(f"it has {size} bytes, of at most {MOST}")
    with zipfile.ZipFile(file) as packed:
        unfolded = sum(one.file_size for one in packed.infolist())
    if unfolded > FREE:
        raise ValueError(f"it would unfold to {unfolded} bytes, of at most {FREE}")
    return read_arrays(file)
