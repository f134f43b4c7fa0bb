"""The files of each split: the embedded photographs, or those of folders."""

import hashlib
import unicodedata
from collections.abc import Collection, Iterator
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from unfold.array_files import ZARR
from unfold.data.example import SPLITS
from unfold.data.image_cache import ImageFile
from unfold.data.image_reader import suffixes
from unfold.disk import expand
from unfold.errors import DataError

EMBEDDED = {
    "train": ("coffee", "retina", "astronaut", "rocket", "hubble", "brick", "grass", "gravel"),
    "validation": ("clock", "coins"),
    "test": ("camera", "chelsea"),
}
"""256x256 pixels to train on, 128x128 elsewhere; grey, 8 bits. See `images/LICENSES.md`."""

IN_COLOUR = {
    "train": ("coffee", "retina", "astronaut", "rocket", "hubble", "tissue"),
    "validation": ("flower",),
    "test": ("chelsea", "china"),
}
"""Likewise; red, green and blue."""


def embedded_files(*, colour: bool = False) -> dict[str, tuple[ImageFile, ...]]:
    """The files of the embedded photographs, by split."""
    folder = files("unfold.data") / "images"
    folder, splits = (folder / "colour", IN_COLOUR) if colour else (folder, EMBEDDED)
    return {
        split: tuple(ImageFile(f"{name}.png", folder / f"{name}.png") for name in names)
        for split, names in splits.items()
    }


SHARE = 26
"""An image is held out if the first byte of its hash is below this: one in ten."""

MOST_HELD_OUT = 20


class Folder(NamedTuple):
    """The files of a folder that are read, sorted by name, and others, each with the reason."""

    images: tuple[ImageFile, ...]
    left_out: tuple[str, ...]


def read_folder(root: Path, key: str, kinds: Collection[str] = ()) -> Folder:
    """Every file under `root`, at any depth, for the argument `key`.

    `kinds` are the suffixes of what is read; images where it is empty. A file is a folder of one.

    Linked folders are followed, each folder once. A name is relative to `root`, in Unicode's
    composed form, so that it does not depend on the file system.

    Raises:
        DataError: there is no such folder, or no such file in it.
    """
    if kinds and _is_one(root, kinds) and suffix_of(root) in kinds:
        return Folder((ImageFile(_portable(root.name), root),), ())
    what, kinds = "file" if kinds else "image", kinds or suffixes()
    if not root.is_dir():
        found = "a file" if root.exists() else "missing"
        raise DataError(
            f"{key} = {root}: {found}; expected a folder of {what}s ({root.absolute()})."
        )
    entries = _walk(root, kinds)
    files = [(_portable(path.relative_to(root).as_posix()), path, why) for path, why in entries]
    images = tuple(sorted(ImageFile(name, path) for name, path, why in files if not why))
    if not images:
        patterns = ", ".join(f"*{suffix}" if suffix else "names without suffix" for suffix in kinds)
        raise DataError(
            f"{key} = {root}: no {what} in it or below ({root.absolute()}); tried {patterns} "
            f"on {len(files)} entries."
        )
    return Folder(images, tuple(sorted(f"{name} ({why})" for name, _, why in files if why)))


def _walk(root: Path, kinds: Collection[str]) -> Iterator[tuple[Path, str]]:
    """Each file below a folder, and why it is left out; nothing where it is an image."""
    folders, seen = [root], {root.resolve()}
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            yield folder, f"cannot be listed: {error.strerror}"
            continue
        for path in entries:
            if path.name.startswith("."):
                yield path, "hidden: its name begins with a dot"
            elif path.is_dir() and not _is_one(path, kinds):
                real = path.resolve()
                if real in seen:
                    yield path, "a folder that is read already"
                else:
                    folders.append(path)
                seen.add(real)
            elif not _is_one(path, kinds):
                yield path, "a broken link, or no regular file"
            elif (suffix := suffix_of(path)) not in kinds:
                yield path, f"{suffix or 'without suffix'}: not a format that is read"
            else:
                yield path, ""


def _is_one(path: Path, kinds: Collection[str]) -> bool:
    """Whether it is read as one file: also a folder that is a store of Zarr."""
    return path.is_file() or (path.is_dir() and path.suffix.lower() in {*kinds} & {ZARR[0]})


def suffix_of(path: Path) -> str:
    """The suffix in lower case; of a file that is packed by gzip, both."""
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() + last if last == ".gz" else last


def _portable(name: str) -> str:
    """The same text on every file system; bytes that are no UTF-8 are escaped."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text)


def hold_out(
    files: tuple[ImageFile, ...], parts: tuple[str, ...], folders: bool = False
) -> dict[str, tuple[ImageFile, ...]]:
    """Divide files, or the folders at the top, into `train` and `parts` by a hash of their names.

    Each part has about a tenth of them, at least 1, at most a fifth and 20. The split of a file
    depends on its name, so that adding files moves no other, except for those bounds.

    Raises:
        DataError: none would remain to train on.
    """
    together: dict[str, list[ImageFile]] = {}
    for file in files:
        top, slash, _ = file.name.partition("/")
        together.setdefault(top * bool(slash) if folders else file.name, []).append(file)
    rest = list(together)
    splits: dict[str, tuple[ImageFile, ...]] = {}
    for part in sorted(parts):  # a fixed order, so that a part does not depend on the other
        ranked = sorted(rest, key=partial(_digest, part))
        chosen = sum(_digest(part, name)[0] < SHARE for name in rest)
        held = ranked[: min(max(chosen, 1), max(len(together) // 5, 1), MOST_HELD_OUT)]
        splits[part] = tuple(sorted(file for name in held for file in together[name]))
        rest = [name for name in rest if name not in held]
    if not rest:
        raise DataError(
            f"{len(together)} {'folders' if folders else 'files'}: too few to train on some and "
            f"keep others for {' and '.join(parts)}. Add some, or name folders for the others "
            f"({', '.join(f'{part}_root' for part in parts)})."
        )
    return splits | {"train": tuple(sorted(file for name in rest for file in together[name]))}


def _digest(part: str, name: str) -> bytes:
    return hashlib.sha256(f"{part}/{name}".encode()).digest()


def folder_files(
    root: str | None,
    validation_root: str | None,
    test_root: str | None,
    kinds: Collection[str] = (),
    *,
    folders: bool = False,
) -> dict[str, tuple[ImageFile, ...]]:
    """The files of each split; those without their own folder are held out of `root`.

    `folders`: those of a folder at the top of `root` stay together.

    Raises:
        DataError: a folder is missing, empty, or has too few images.
    """
    own = {"validation": validation_root, "test": test_root}
    without = tuple(split for split, folder in own.items() if folder is None)
    splits: dict[str, tuple[ImageFile, ...]] = dict.fromkeys(SPLITS, ())
    if root is not None:
        splits |= hold_out(_images(root, "root", kinds), without, folders)
    splits |= {s: _images(f, f"{s}_root", kinds) for s, f in own.items() if f is not None}
    return {split: splits[split] for split in SPLITS}


def _images(root: str, name: str, kinds: Collection[str]) -> tuple[ImageFile, ...]:
    key = f"{'data' if kinds else 'FolderData'}.{name}"
    return read_folder(expand(root, key), key, kinds).images


def folder_left_out(*roots: str | None, kinds: Collection[str] = ()) -> tuple[str, ...]:
    """The files of the folders that are not read, each with the reason."""
    named = dict.fromkeys(root for root in roots if root is not None)
    folders = (read_folder(expand(root, "data"), "data", kinds) for root in named)
    return tuple(text for folder in folders for text in folder.left_out)
