"""A folder is listed in order, divided by names alone, and searched for mistakes up front."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unfold.data import image_cache
from unfold.data.files import folder_files, hold_out, read_folder
from unfold.data.image_cache import ImageFile, Pixels, load_splits
from unfold.errors import DataError


def write(path, height=16, width=16, seed=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(abs(hash(path.name)) if seed is None else seed)
    Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8)).save(path)
    return path


def named(count):
    return tuple(ImageFile(f"{i}.png", Path(f"{i}.png")) for i in range(count))


def loaded(folder, why="x"):
    """The images of a folder, of 8 pixels at least."""
    files = read_folder(folder, "FolderData.root").images
    return load_splits({"train": files}, Pixels(1), lambda split: (8, why))["train"]


def test_images_at_any_depth_are_listed_by_name(tmp_path):
    for name in ("b.png", "a/c.JPG", "a/b/d.tiff", "e.BMP".lower()):
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    write(tmp_path / ".hidden" / "x.png")
    (tmp_path / "._b.png").write_bytes(b"")
    assert [f.name for f in read_folder(tmp_path, "FolderData.root").images] == [
        "a/b/d.tiff",
        "a/c.JPG",
        "b.png",
        "e.bmp",
    ]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"FolderData.root = .*gone: missing; expected a folder"):
        read_folder(tmp_path / "gone", "FolderData.root")


def test_a_file_instead_of_a_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="a file; expected a folder"):
        read_folder(write(tmp_path / "x.png"), "FolderData.root")


def test_an_empty_folder_lists_what_was_tried(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match=r"no image in it.*\*\.png.*\*\.tiff.* on 1 entries"):
        read_folder(tmp_path, "FolderData.test_root")


@pytest.mark.parametrize(
    ("count", "least", "most"), [(3, 1, 1), (9, 1, 1), (100, 5, 15), (500, 20, 20)]
)
def test_about_a_tenth_is_held_out(count, least, most):
    splits = hold_out(named(count), ("validation", "test"))
    assert all(least <= len(splits[s]) <= most for s in ("validation", "test"))
    assert sorted(sum(splits.values(), ())) == sorted(named(count))


def test_adding_images_moves_no_other_from_split_to_split():
    def home(count):
        splits = hold_out(named(count), ("validation", "test"))
        return {file.name: split for split, files in splits.items() for file in files}

    before = home(60)
    for count in range(61, 130):
        after = home(count)
        assert all(after[name] == split for name, split in before.items())
        before = after


def test_naming_a_validation_folder_keeps_the_test_images():
    both, alone = hold_out(named(80), ("validation", "test")), hold_out(named(80), ("test",))
    assert both["test"] == alone["test"]


def test_splits_depend_on_names_only():
    files = named(50)
    assert hold_out(files, ("validation",)) == hold_out(files[::-1], ("validation",))
    validation = {file.name for file in hold_out(files, ("validation",))["validation"]}
    assert validation != {f"{i}.png" for i in range(5)}


def test_too_few_images_to_divide_are_refused():
    with pytest.raises(DataError, match=r"2 files: too few.*validation_root, test_root"):
        hold_out(named(2), ("validation", "test"))


def test_separate_folders_are_used_completely(tmp_path):
    for i in range(3):
        for part in ("train", "validation", "test"):
            write(tmp_path / part / f"{part}{i}.png")
    splits = folder_files(*(str(tmp_path / p) for p in ("train", "validation", "test")))
    assert list(splits) == ["train", "validation", "test"]
    assert all([f.name[:-5] for f in files] == [part] * 3 for part, files in splits.items())


def test_all_faults_are_in_one_message(tmp_path):
    write(tmp_path / "fine.png")
    write(tmp_path / "small.png", 16, 7)
    (tmp_path / "broken.png").write_bytes(b"?")
    with pytest.raises(DataError) as error:
        loaded(tmp_path, "crop")
    message = str(error.value)
    assert "2 images cannot be used" in message
    assert "small.png: 16x7 pixels, smaller than the 8x8 that crop needs" in message
    assert "broken.png: not an image" in message


def test_a_long_list_of_faults_is_shortened(tmp_path):
    for i in range(13):
        (tmp_path / f"{i}.png").write_bytes(b"")
    with pytest.raises(DataError, match="and 3 more"):
        loaded(tmp_path, "crop")


def test_images_beyond_the_memory_are_read_again(tmp_path, monkeypatch):
    for i in range(3):
        write(tmp_path / f"{i}.png", seed=i)
    kept = loaded(tmp_path)
    monkeypatch.setattr(image_cache, "MEMORY", 2 * 16 * 16 * 4)
    read = loaded(tmp_path)
    assert [e.picture is not None for e in read.items] == [True, True, False]
    assert all(e.picture is not None and e.picture.nbytes == 1024 for e in kept.items)
    assert all(a.equal(b) for a, b in zip(kept, read, strict=True))
    assert [x.shape for x in kept[1:]] == [(1, 16, 16)] * 2


def test_a_file_that_vanishes_after_the_check_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(image_cache, "MEMORY", 0)
    path = write(tmp_path / "x.png")
    images = loaded(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"x.png: cannot be read"):
        images[0]


def test_an_image_in_two_splits_is_refused_under_any_name(tmp_path):
    write(tmp_path / "train" / "a.png", seed=1)
    write(tmp_path / "test" / "b.png", seed=1)
    write(tmp_path / "validation" / "c.png", seed=2)
    parts = ("train", "validation", "test")
    files = folder_files(*(str(tmp_path / part) for part in parts))
    with pytest.raises(DataError, match=r"b.png: for test, and the same file as .*a.png"):
        image_cache.load_splits(files, Pixels(1), lambda split: (8, "x"))
