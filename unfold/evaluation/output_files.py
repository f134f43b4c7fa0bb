"""Files of reconstructions: every digit of them, or pictures that keep their scale."""

import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from unfold.disk import write_bytes
from unfold.errors import ConfigError, listing
from unfold.evaluation.metrics import magnitude
from unfold.extras import optional

SUFFIXES = (".npy", ".nii.gz", ".nii", ".h5", ".tif", ".tiff", ".png")
PICTURES = (".npy", ".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
"""Of files of `write_images`, and of `write_image`."""

AFFINE = "affine"
"""The name in the metadata of an example of the positions of its voxels, (4, 4)."""


def suffix_of(path: Path, kinds: Sequence[str] = SUFFIXES) -> str:
    """The suffix of a file that can be written.

    Raises:
        ConfigError: it is none.
    """
    found = next((one for one in kinds if path.name.lower().endswith(one)), None)
    if found is None:
        raise ConfigError(f"output = {path}: no such kind of file. Allowed: {listing(kinds)}.")
    return found


def write_images(path: Path, images: np.ndarray, metadata: dict[str, Any]) -> None:
    """Write images (S, C, H, W), in the unit of what was measured.

    .npy and .h5 keep complex numbers; the others have magnitudes where images are complex. NIfTI
    has the axes (H, W, S) and the affine of the input, 1 mm a voxel where it has none; TIFF is
    float, a page for each image; PNG has 16 bits, of which its text `scale` is one step.

    Args:
        path: of a suffix of `SUFFIXES`.
        images: float or complex; .npy has no axis of a single image, .h5 none of a single channel.
        metadata: attributes of .h5, and texts of .png; `affine` of NIfTI.

    Raises:
        ConfigError: several images, or channels, of which the format has one.
    """
    kind, content = suffix_of(path), io.BytesIO()
    texts = {name: str(value) for name, value in metadata.items() if name != AFFINE}
    if kind == ".npy":
        np.save(content, images[0] if len(images) == 1 else images)
    elif kind == ".h5":
        with optional("h5py", "io").File(content, "w") as file:
            file["reconstruction"] = images[:, 0] if images.shape[1] == 1 else images
            file["reconstruction"].attrs.update(texts)
    else:
        values = np.abs(images) if np.iscomplexobj(images) else images
        if values.shape[1] != 1:
            raise ConfigError(f"output = {path}: images of {values.shape[1]} channels; use .npy.")
        pages = np.ascontiguousarray(values[:, 0], np.float32)
        if kind.startswith(".nii"):
            nibabel = optional("nibabel", "io")
            affine = np.asarray(metadata.get(AFFINE, np.eye(4)))
            data = nibabel.Nifti1Image(np.moveaxis(pages, 0, -1), affine).to_bytes()
            content.write(gzip.compress(data, mtime=0) if kind == ".nii.gz" else data)
        elif kind == ".png":
            _png(path, pages, texts, content)
        else:
            first, *others = map(PillowImage.fromarray, pages)
            first.save(content, format="TIFF", save_all=True, append_images=others)
    write_bytes(path, content.getvalue())


def _png(path: Path, pages: np.ndarray, texts: dict[str, str], content: io.BytesIO) -> None:
    if len(pages) != 1:
        raise ConfigError(f"output = {path}: {len(pages)} images, and .png holds one; use .tif.")
    step = float(pages.max()) / 65535 or 1.0
    notes = PngInfo()
    for name, text in {**texts, "scale": repr(step)}.items():
        notes.add_text(name, text)
    whole = np.clip(np.round(pages[0] / step), 0, 65535).astype(np.uint16)
    PillowImage.fromarray(whole).save(content, format="PNG", pnginfo=notes)


def write_image(path: Path, image: Tensor, comment: str = "") -> None:
    """Write (C, H, W), clipped to [0, 1], as an 8-bit image; or unclipped as an .npy file."""
    content = io.BytesIO()
    if path.suffix.lower() == ".npy":
        np.save(content, image.cpu().numpy())
        write_bytes(path, content.getvalue())
        return
    array = (magnitude(image).clamp(0, 1) * 255).round().byte().cpu().numpy()
    picture = PillowImage.fromarray(array[0] if len(array) == 1 else np.moveaxis(array, 0, -1))
    notes = PngInfo()
    if comment:
        notes.add_text("Comment", comment)
    kind = PillowImage.registered_extensions()[path.suffix.lower()]
    picture.save(content, format=kind, **({"pnginfo": notes} if comment else {}))
    write_bytes(path, content.getvalue())
