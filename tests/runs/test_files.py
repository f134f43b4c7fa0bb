import pytest

from unfold.errors import RunError
from unfold.runs.files import read_json, read_yaml, write_json, write_text, write_yaml


def test_what_is_written_is_read(tmp_path):
    write_json(tmp_path / "a/b.json", {"x": 1.5, "y": ["é", None]})
    assert read_json(tmp_path / "a/b.json") == {"x": 1.5, "y": ["é", None]}
    write_yaml(tmp_path / "c.yaml", {"z": 1, "a": [1e-4, "on", "é"]})
    assert read_yaml(tmp_path / "c.yaml") == {"z": 1, "a": [1e-4, "on", "é"]}


def test_a_failed_write_keeps_the_old_content_and_leaves_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match=r"a.txt cannot be written: No space left on device"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_said(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        write_text(tmp_path / "runs/a.txt", "x")


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text("[]")
    (tmp_path / "c.yaml").write_text("!!python/object/apply:os.system [id]")
    with pytest.raises(RunError, match=r"a\.json cannot be read"):
        read_json(tmp_path / "a.json")
    with pytest.raises(RunError, match=r"b\.json is damaged: it does not hold a JSON object"):
        read_json(tmp_path / "b.json")
    with pytest.raises(RunError, match=r"c\.yaml cannot be read"):
        read_yaml(tmp_path / "c.yaml")
