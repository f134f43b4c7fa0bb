import json
import subprocess

from unfold.runs.provenance import git_state, provenance


def test_it_says_what_made_a_number():
    found = provenance(overrides=["seed=1"], choices={"algo": "pgd"}, seed=1, fingerprint="abc")
    json.dumps(found)
    assert found["packages"]["torch"]
    assert found["machine"]["threads"] >= 1
    assert found["sources"]["errors.py"]
    assert found["overrides"] == ["seed=1"]
    assert found["seed"] == 1
    assert found["data"] == "abc"


def test_a_dirty_checkout_is_recorded_with_its_difference(tmp_path):
    def git(*words):
        subprocess.run(
            ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words],
            check=True,
            capture_output=True,
        )

    assert git_state(tmp_path) is None
    (tmp_path / "unfold").mkdir()
    (tmp_path / "unfold/a.py").write_text("one\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    assert git_state(tmp_path)["diff"] == ""
    (tmp_path / "unfold/a.py").write_text("two\n")
    (tmp_path / "unfold/b.py").write_text("new\n")
    state = git_state(tmp_path)
    assert "+two" in state["diff"]
    assert "?? unfold/b.py" in state["status"]
    assert len(state["commit"]) == 40
