"""A survey finds every bad file, and no good one."""

import pytest

from tests.data.test_image_reader import GOOD, JPEG, REFUSED
from unfold.cli.check import check_data
from unfold.data.image_data import FolderData
from unfold.errors import DataError


@pytest.fixture
def planted(tmp_path):
    """Eight good images to train on, every kind of bad one, one too small, and a shared one."""
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    for i in range(8):
        (tmp_path / f"train/good{i}.png").write_bytes(GOOD + bytes(i))
    for name, (content, _) in REFUSED.items():
        (tmp_path / "train" / name).write_bytes(content)
    (tmp_path / "test/shared.png").write_bytes(GOOD)
    (tmp_path / "test/fine.jpg").write_bytes(JPEG)
    return FolderData(
        0,
        root=str(tmp_path / "train"),
        validation_root=str(tmp_path / "train"),
        test_root=str(tmp_path / "test"),
        crop=64,
    )


def test_every_bad_file_is_found_and_no_good_one(planted):
    looked = []
    found = planted.check_files(lambda: looked.append(1))
    assert len(looked) == sum(one.files for one in found.values())
    for name in REFUSED:
        assert sum(name in fault for fault in found["train"].faults) == 1, name
    assert found["train"].usable == 8
    assert found["train"].sizes == (((64, 64), 8),)
    (fault,) = found["test"].faults
    assert "shared.png: for test, and the same file as" in fault
    assert "good0.png" in fault


def test_the_command_lists_all_faults_and_fails(planted, capsys):
    with pytest.raises(DataError, match=r"of \d+ files cannot be used"):
        check_data(planted)
    said = capsys.readouterr().out
    assert all(name in said for name in REFUSED)


def test_images_too_small_for_the_crop_are_found(tmp_path):
    for i in range(8):
        (tmp_path / f"{i}.png").write_bytes(GOOD + bytes(i))
    faults = FolderData(0, root=str(tmp_path), crop=65).check_files(lambda: None)["train"].faults
    assert faults
    assert all("smaller than the 65x65 that FolderData.crop needs" in fault for fault in faults)
