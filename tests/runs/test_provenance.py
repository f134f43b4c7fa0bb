import json
import subprocess
import sys
import time

import numpy
import torch

from unfold.random import SCHEME, generator
from unfold.runs.identity import source_hashes
from unfold.runs.provenance import freeze, git_state, machine, provenance, summary

PINNED = [3155784812, 3796248880, 2074346952]

MADE = {
    "overrides": ["seed=1"],
    "choices": {"algo": "pgd"},
    "folders": (),
    "seed": 1,
    "fingerprint": "abc",
    "shapes": {"test": [("a.png", (1, 8, 8))]},
    "weights": {},
    "pixels": {},
}


def test_it_says_what_made_a_number(monkeypatch, tmp_path):
    (tmp_path / "algo").mkdir()
    (tmp_path / "algo/mine.yaml").write_text("x: 1")
    monkeypatch.setattr(sys, "argv", ["train.py", "seed=1", "logger.token=abc"])
    arguments = ["seed=1", "logger.token=abc", "algo=pgd"]
    found = provenance(**MADE | {"overrides": arguments, "folders": [tmp_path]})
    json.dumps(found)
    assert found["packages"]["torch"] == torch.__version__ == found["build"]["torch"]
    assert found["machine"]["threads"] == torch.get_num_threads()
    assert source_hashes()["errors.py"]
    assert found["command"] == ["train.py", "seed=1", "logger.token=<redacted>"]
    assert found["overrides"] == ["seed=1", "logger.token=<redacted>", "algo=pgd"]
    assert list(found["given_by"].values()) == ["command line", "command line", "sweep"]
    assert list(found["folders"][str(tmp_path)]) == ["algo/mine.yaml"]
    assert (found["seed"], found["data"]) == (1, "abc")


def test_every_package_is_listed_in_little_time():
    start = time.perf_counter()
    found = freeze()
    assert time.perf_counter() - start < 1.0, "0.05 s where nothing else runs"
    assert f"numpy=={numpy.__version__}" in found["packages"]
    assert len(found["sha256"]) == 64


def test_the_machine_names_what_bits_depend_on():
    found = machine()
    assert found["capability"] == torch.backends.cpu.get_cpu_capability()
    assert found["cpu"] and found["gpus"] == [
        torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())
    ]


def test_images_are_counted_and_long_lists_are_cut():
    found = summary([(f"{i}.png", (1, 8, 8 + i % 2)) for i in range(3001)])
    assert (found["count"], len(found["ids"])) == (3001, 1000)
    assert found["sizes"] == {"1x8x8": 1501, "1x8x9": 1500}
    assert found["ids_sha256"] != summary([("0.png", (1, 8, 8))])["ids_sha256"]


def test_a_dirty_checkout_is_recorded_with_its_difference(tmp_path):
    def git(*arguments):
        subprocess.run(
            ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
            check=True,
            capture_output=True,
        )

    assert git_state(tmp_path) is None
    (tmp_path / "unfold").mkdir()
    (tmp_path / "unfold/a.py").write_text("one\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    assert git_state(tmp_path)["diff"] == "" and not git_state(tmp_path)["dirty"]
    (tmp_path / "unfold/a.py").write_text("two\n")
    (tmp_path / "unfold/b.py").write_text("new\n")
    state = git_state(tmp_path)
    assert "+two" in state["diff"]
    assert "?? unfold/b.py" in state["status"]
    assert (state["dirty"], state["untracked"]) == (True, ["unfold/b.py"])
    assert len(state["commit"]) == 40


def test_the_scheme_of_streams_is_raised_when_their_numbers_change():
    first = generator("train", 1).integers(0, 2**32, 3).tolist()
    assert (SCHEME, first) == (1, PINNED), "raise SCHEME, and write the new numbers here"
