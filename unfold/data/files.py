"""The files of each split: the embedded photographs, or those of folders."""

import hashlib
from functools import partial
from importlib.resources import files
from pathlib import Path

from unfold.data.image_cache import ImageFile
from unfold.errors import DataError

SPLITS = {
    "train": ("coffee", "retina", "astronaut", "rocket", "hubble", "brick", "grass", "gravel"),
    "validation": ("clock", "coins"),
    "test": ("camera", "chelsea"),
}
"""256x256 pixels to train on, 128x128 elsewhere; grey, 8 bits. See `images/LICENSES.md`."""


def embedded_files() -> dict[str, tuple[ImageFile, ...]]:
    """The files of the embedded photographs, by split."""
    folder = files("unfold.data") / "images"
    return {
        split: tuple(ImageFile(f"{name}.png", folder / f"{name}.png") for name in names)
        for split, names in SPLITS.items()
    }


SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")
"""Suffixes of image files, in any case."""

SHARE = 26
"""An image is held out if the first byte of its hash is below this: one in ten."""

MOST_HELD_OUT = 20


def list_images(root: Path, key: str) -> tuple[ImageFile, ...]:
    """All images under `root`, at any depth, sorted by name, for the argument `key`.

    Files and folders whose names begin with a dot are left out.

    Raises:
        DataError: there is no such folder, or no image in it.
    """
    if not root.is_dir():
        what = "a file" if root.exists() else "missing"
        raise DataError(f"{key} = {root}: {what}; expected a folder of images ({root.absolute()}).")
    paths = {path.relative_to(root).as_posix(): path for path in root.rglob("*")}
    shown = {n: p for n, p in paths.items() if not any(s.startswith(".") for s in n.split("/"))}
    names = sorted(n for n, p in shown.items() if p.suffix.lower() in SUFFIXES and p.is_file())
    if not names:
        patterns = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
        raise DataError(
            f"{key} = {root}: no image in it or below ({root.absolute()}); tried {patterns} "
            f"on {len(paths)} entries."
        )
    return tuple(ImageFile(name, paths[name]) for name in names)


def hold_out(
    files: tuple[ImageFile, ...], parts: tuple[str, ...]
) -> dict[str, tuple[ImageFile, ...]]:
    """Divide images into `train` and `parts` by a hash of their names.

    Each part has about a tenth of the images, at least 1, at most a fifth and 20. The split of an
    image depends on its name, so that adding images moves no other, except for those bounds.

    Raises:
        DataError: no image would remain to train on.
    """
    rest = list(files)
    splits: dict[str, tuple[ImageFile, ...]] = {}
    for part in sorted(parts):  # a fixed order, so that a part does not depend on the other
        ranked = sorted(rest, key=partial(_digest, part))
        chosen = sum(_digest(part, file)[0] < SHARE for file in rest)
        held = ranked[: min(max(chosen, 1), max(len(files) // 5, 1), MOST_HELD_OUT)]
        splits[part] = tuple(sorted(held))
        rest = [file for file in rest if file not in held]
    if not rest:
        raise DataError(
            f"{len(files)} images: too few to train on some and keep others for "
            f"{' and '.join(parts)}. Add images, or name folders for the others "
            f"({', '.join(f'{part}_root' for part in parts)})."
        )
    return splits | {"train": tuple(sorted(rest))}


def _digest(part: str, file: ImageFile) -> bytes:
    return hashlib.sha256(f"{part}/{file.name}".encode()).digest()


def folder_files(
    root: str, validation_root: str | None, test_root: str | None
) -> dict[str, tuple[ImageFile, ...]]:
    """The files of each split; those without their own folder are held out of `root`.

    Raises:
        DataError: a folder is missing, empty, or has too few images.
    """
    own = {"validation": validation_root, "test": test_root}
    without = tuple(split for split, folder in own.items() if folder is None)
    splits = hold_out(list_images(Path(root).expanduser(), "FolderData.root"), without)
    for split, folder in own.items():
        if folder is not None:
            splits[split] = list_images(Path(folder).expanduser(), f"FolderData.{split}_root")
    return {split: splits[split] for split in ("train", "validation", "test")}
