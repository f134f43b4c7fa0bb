"""Every file of a folder is used or named; equal pixels are in one split; names are portable."""

import os
import shutil
import unicodedata
import warnings

import numpy as np
import pytest
from PIL import Image

from unfold.cli.check import check_data
from unfold.data.files import folder_left_out, read_folder
from unfold.data.image_data import FolderData
from unfold.errors import ConfigError, DataError, DataWarning


def pixels(seed):
    return np.random.default_rng(seed).integers(0, 256, (16, 16), np.uint8)


def write(path, seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    options |= {"lossless": True} if path.suffix == ".webp" else {}
    Image.fromarray(pixels(seed)).save(path, **options)
    return path


def data(root, **changes):
    return FolderData(0, **{"root": str(root), "crop": 8, "batch_size": 2} | changes)


USED = ("a.png", "b.webp", "c.pgm", "d.gif", "e.TIF", "f/g.bmp", "linked/h.png", "i.jfif", "j.ppm")
LEFT = {
    ".hidden.png": "hidden",
    ".cache/x.png": "hidden",
    "notes.txt": ".txt: not a format",
    "raw.dng": ".dng: not a format",
    "array.npy": ".npy: not a format",
    "plain": "without suffix",
    "gone.png": "a broken link",
    "pipe.png": "no regular file",
    "loop": "a folder that is read already",
    "self.png": "a broken link",
}


@pytest.fixture
def mixed(tmp_path):
    """A folder of every kind, with loops of links and a linked folder."""
    root, other = tmp_path / "root", tmp_path / "other"
    for i, name in enumerate(USED):
        folder = other if name.startswith("linked") else root
        write(folder / name.removeprefix("linked/"), i)
    (root / "linked").symlink_to(other)
    (other / "back").symlink_to(root)
    (root / "loop").symlink_to(root)
    (root / "gone.png").symlink_to(tmp_path / "nowhere")
    (root / "self.png").symlink_to(root / "self.png")
    os.mkfifo(root / "pipe.png")
    write(root / ".hidden.png")
    write(root / ".cache/x.png")
    for name in ("notes.txt", "raw.dng", "array.npy", "plain"):
        (root / name).write_text("no image")
    return root


def test_every_file_is_used_or_named_with_the_reason(mixed):
    found = read_folder(mixed, "data.root")
    assert [file.name for file in found.images] == sorted(USED)
    named = dict(text.partition(" (")[::2] for text in found.left_out)
    expected = {
        name.partition("/")[0] if name[0] == "." else name: why for name, why in LEFT.items()
    }
    assert named.keys() == {*expected, "linked/back"}
    assert all(expected[name] in named[name] for name in expected)


def test_what_is_left_out_is_told_at_the_start_and_by_check(mixed, capsys):
    with pytest.warns(DataWarning, match=rf"{len(LEFT) + 1} files are left out: .*, …\."):
        data(mixed).check()
    check_data(data(mixed))
    said = capsys.readouterr().out
    assert "left out: notes.txt (.txt: not a format that is read)" in said
    assert f"All {len(USED)} images can be used, {len(LEFT) + 1} files are left out." in said


@pytest.mark.parametrize("name", ["copy.tif", "copy.bmp", "copy.webp", "copy.pgm", "copy.gif"])
@pytest.mark.parametrize("split", ["test", "validation"])
def test_equal_pixels_in_two_splits_are_refused_by_name(tmp_path, name, split):
    for i in range(4):
        write(tmp_path / f"train/{i}.png", i)
        write(tmp_path / f"{split}/{i}.png", 10 + i)
    write(tmp_path / split / name, 2)
    given = data(tmp_path / "train", **{f"{split}_root": str(tmp_path / split)})
    with pytest.raises(DataError, match=rf"{name}: for {split}, and the same pixels as .*2\.png"):
        given.check()
    assert any(name in text for text in given.check_files(lambda: None)[split].faults)


def test_equal_pixels_of_other_depths_and_colours_are_found(tmp_path):
    sixteen, colour = pixels(2).astype(np.uint16) * 257, np.repeat(pixels(3)[..., None], 3, -1)
    for i in range(4):
        write(tmp_path / f"train/{i}.png", i)
    (tmp_path / "test").mkdir()
    for name, values in (("sixteen.png", sixteen), ("colour.png", colour)):
        Image.fromarray(values).save(tmp_path / "test" / name)
        given = data(tmp_path / "train", test_root=str(tmp_path / "test"))
        with pytest.raises(DataError, match=rf"{name}: for test, and the same pixels"):
            given.check()
        (tmp_path / "test" / name).unlink()


def test_validation_and_test_images_differ_too(tmp_path):
    for i in range(4):
        write(tmp_path / f"train/{i}.png", i)
        write(tmp_path / f"other/{i}.png", 10 + i)
    other = str(tmp_path / "other")
    with pytest.raises(DataError, match=r"for test, and the same file as .* is for validation"):
        data(tmp_path / "train", validation_root=other, test_root=other).check()


def test_a_folder_that_was_copied_otherwise_has_the_same_splits(tmp_path, monkeypatch):
    """Composed and decomposed names, another order of entries, another place."""
    names = [f"é{i}ü.png" for i in range(12)]
    for i, name in enumerate(names):
        write(tmp_path / "one" / unicodedata.normalize("NFC", name), i)
        write(tmp_path / "two/deep" / unicodedata.normalize("NFD", name), i)
    first = data(tmp_path / "one")
    shapes, prints = first.shapes(), first.fingerprint()
    order = type(tmp_path).iterdir
    monkeypatch.setattr(type(tmp_path), "iterdir", lambda path: [*order(path)][::-1])
    second = data(tmp_path / "two/deep")
    assert second.shapes() == shapes and second.fingerprint() == prints


def test_names_that_are_no_utf8_are_read(tmp_path):
    for i in range(4):
        write(tmp_path / f"{i}.png", i)
    shutil.move(tmp_path / "3.png", os.fsencode(tmp_path) + b"/caf\xe9.png")
    given = data(tmp_path)
    given.check()
    names = [name for split in given.shapes().values() for name, _ in split]
    assert "caf\\xe9.png" in names and "".join(names).isascii() and given.fingerprint()


def test_a_home_folder_is_found_or_named(tmp_path, monkeypatch):
    from unfold.config.compose import compose

    for i in range(4):
        write(tmp_path / f"imgs/{i}.png", i)
    monkeypatch.setenv("HOME", str(tmp_path))
    (job,) = compose(["data=folder", "data.root=~/imgs", "data.crop=8"]).jobs
    assert job.config["data"]["root"] == "~/imgs"
    data("~/imgs").check()
    with pytest.raises(ConfigError, match="no such user"):
        data("~nobody-of-that-name/imgs").check()


def test_an_image_that_changed_since_the_start_is_refused(tmp_path, monkeypatch):
    for i in range(4):
        write(tmp_path / f"{i}.png", i)
    monkeypatch.setattr("unfold.data.image_cache.MEMORY", 0)
    given = data(tmp_path)
    given.check()
    for i in range(4):
        write(tmp_path / f"{i}.png", i + 7)
    with pytest.raises(DataError, match="changed since the start"):
        given.images("train")


def test_a_folder_without_anything_else_says_nothing(tmp_path):
    for i in range(4):
        write(tmp_path / f"{i}.png", i)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data(tmp_path).check()
    assert folder_left_out(str(tmp_path), None) == ()


def test_the_same_image_with_rows_that_the_evaluation_crops_is_in_two_splits(tmp_path):
    pixels = np.random.default_rng(3).integers(0, 256, (16, 16), np.uint8)
    for name, image in {"train/a": pixels, "test/b": np.pad(pixels, ((0, 3), (0, 1)))}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    for i in range(2):
        write(tmp_path / f"validation/{i}.png", i)
        write(tmp_path / f"train/{i}.png", 5 + i)
    given = FolderData(
        seed=0,
        root=str(tmp_path / "train"),
        validation_root=str(tmp_path / "validation"),
        test_root=str(tmp_path / "test"),
        crop=8,
    )
    with pytest.raises(DataError, match=r"b.png: for test, and the same pixels as .*a.png"):
        given.check()
