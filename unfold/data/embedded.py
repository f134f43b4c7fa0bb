"""Twelve photographs that come with unfold; `images/LICENSES.md` tells where they are from."""

from importlib.resources import files

from unfold.data.store import ImageFile

SPLITS = {
    "train": ("coffee", "retina", "astronaut", "rocket", "hubble", "brick", "grass", "gravel"),
    "validation": ("clock", "coins"),
    "test": ("camera", "chelsea"),
}
"""256x256 pixels to train on, 128x128 elsewhere; grey, 8 bits."""


def embedded_files() -> dict[str, tuple[ImageFile, ...]]:
    """The files of each split, which `importlib.resources` finds wherever unfold is installed."""
    folder = files("unfold.data") / "images"
    return {
        split: tuple(ImageFile(f"{name}.png", folder / f"{name}.png") for name in names)
        for split, names in SPLITS.items()
    }
