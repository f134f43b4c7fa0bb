"""What computes a number and is no part of a run's name: it is compared, and what differs named."""

import json
from pathlib import Path

import pytest

from tests.cli.test_train import directories, run
from unfold.errors import PreemptedError
from unfold.runs.identity import LEFT_OUT
from unfold.training.loggers.local import Curves, Events, replay
from unfold.training.settings import CSV, NoLog, TensorBoard

MINE = (
    "from dataclasses import dataclass\nfrom unfold.fidelities.l2 import L2\n\n\n"
    "@dataclass(frozen=True)\nclass Mine(L2):\n    pass\n"
)
PACKAGES = {
    "module": ({"{}.py": MINE}, "{}", "{}.py"),
    "package": ({"{}/__init__.py": MINE}, "{}", "{}/__init__.py"),
    "deep": ({"{}/__init__.py": "", "{}/a/b/mine.py": MINE}, "{}.a.b.mine", "{}/a/b/mine.py"),
    "namespace": ({"{}/mine.py": MINE}, "{}.mine", "{}/mine.py"),
    "unused": ({"{}/__init__.py": MINE, "{}/other.py": ""}, "{}", "{}/other.py"),
    "data": ({"{}/__init__.py": MINE, "{}/.hidden/x": "", "{}/o.txt": "1"}, "{}", "{}/o.txt"),
    "imported": ({"{}.py": f"import {{}}_help\n{MINE}", "{}_help.py": ""}, "{}", "{}_help.py"),
    "options": ({"{}/__init__.py": MINE, "{}/o.yaml": "a: 1\n"}, "{}", "{}/o.yaml"),
}


@pytest.fixture(params=PACKAGES)
def package(request, tmp_path_factory, monkeypatch):
    """The overrides that use a package of the user, and a file of it with its name."""
    files, home, edited = PACKAGES[request.param]
    root = tmp_path_factory.mktemp("packages")
    name = f"mine_{root.name}"
    for path, text in files.items():
        place = root / path.format(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text.replace("{}", name))
    monkeypatch.syspath_prepend(str(root))
    target = f"fidelity._target_={home.format(name)}.Mine"
    return [target, f"trust=[{name}]"], root / edited.format(name), edited.format(name)


def test_user_code_that_was_edited_since_a_run_is_named(calls, package, capsys):
    words, file, name = package
    assert run(*words) == 0
    assert run(*words) == 0, "nothing changed"
    assert len(calls) == 2
    file.write_text(file.read_text() + "# edited\n")
    assert run(*words) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert f"these files differ (1): {name}. Add rerun=true" in err
    assert run(*words, "rerun=true") == 0
    assert run(*words) == 0


def test_user_code_that_was_edited_before_a_resume_is_named(calls, package, capsys):
    words, file, name = package
    calls.fail = PreemptedError("asked to")
    assert run(*words) == 143
    calls.fail = None
    file.write_text(file.read_text() + "# edited\n")
    assert run(*words) == 2
    assert f"these files differ (1): {name}. Add accept_code=true" in " ".join(
        capsys.readouterr().err.split()
    )
    assert run(*words, "accept_code=true") == 0
    (directory,) = directories()
    starts = json.loads((directory / "provenance.json").read_text())["attempts"]
    assert list(starts[-1]["changed_sources"]) == [name]


def test_a_run_that_was_not_strict_is_not_finished_for_one_that_is(calls, capsys):
    assert run() == 0
    assert run("strict=true") == 2
    assert "strict (false there, true asked for)" in " ".join(capsys.readouterr().err.split())
    assert run("strict=true", "rerun=true") == 0
    assert run() == 0, "a strict run that finished is what one that is not strict would be"


@pytest.mark.parametrize("state", ["finished", "interrupted"])
def test_other_versions_are_named(calls, capsys, monkeypatch, state):
    calls.fail = PreemptedError("asked to") if state == "interrupted" else None
    run()
    calls.fail = None
    (directory,) = directories()
    packages = json.loads((directory / "provenance.json").read_text())["packages"]
    changed = packages | {"torch": "9.9", "python": "4.0", "lightning": "8.8"}
    monkeypatch.setattr("unfold.runs.directory.versions", lambda: changed)
    assert run() == 0
    out = " ".join(capsys.readouterr().out.split())
    for name, value in (("torch", "9.9"), ("python", "4.0"), ("lightning", "8.8")):
        assert f"{name} {packages[name]} then, {value} now" in out


def events(directory):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(directory / "tensorboard"))
    found.Reload()
    return {(tag, e.step): e.value for tag in found.Tags()["scalars"] for e in found.Scalars(tag)}


def test_curves_of_a_finished_run_are_sent_to_another_log_once(tmp_path):
    pytest.importorskip("tensorboard")
    curves = Curves(tmp_path / "metrics.csv")
    for step in range(3):
        curves.log_metrics({"train/loss": 1 / (1 + step)}, step)
    curves.log_metrics({"validation/psnr": 30.0}, 2)
    curves.flush()
    before = (tmp_path / "metrics.csv").read_bytes()
    assert [replay(TensorBoard().build(tmp_path), tmp_path) for _ in range(2)] == [3, 0]
    assert [replay(log.build(tmp_path), tmp_path) for log in (CSV(), NoLog())] == [0, 0]
    expected = {("train/loss", 0): 1.0, ("train/loss", 1): 0.5, ("train/loss", 2): 1 / 3}
    found = events(tmp_path)
    assert found.pop(("validation/psnr", 2)) == 30
    assert found == pytest.approx(expected)
    assert (tmp_path / "metrics.csv").read_bytes() == before


def test_a_finished_run_asked_for_another_logger_sends_its_curves(calls, monkeypatch, capsys):
    assert run() == 0
    sent = []
    monkeypatch.setattr(
        "unfold.training.loggers.local.replay", lambda logger, path: sent.append(type(logger)) or 7
    )
    assert run() == 0
    assert not sent
    assert run("logger=tensorboard") == 0
    assert sent == [Events]
    assert "7 rows of its curves are sent to the log" in " ".join(capsys.readouterr().out.split())


SMALL = (
    *("trainer.max_steps=2", "data.crop=16", "data.batch_size=2", "evaluation=none"),
    *(
        "trainer.threads=1",
        "model.iterations=1",
        "data.crops_per_image=1",
        "trainer.progress=false",
    ),
)
VARIED = {
    "accept_code": "true",
    "data.workers": "1",
    "logger": "none",
    "name": "other",
    "rerun": "true",
    "runs_dir": "elsewhere",
    "strict": "true",
    "trainer.checkpoint_every": "1",
    "trainer.images_every": "1",
    "trainer.log_every": "1",
    "trainer.log_gradient_norm": "true",
    "trainer.progress": "true",
}
OTHERWISE = {"data.root", "data.test_root", "data.validation_root", "schema_version", "trust"}
"""Compared by content, refused where another, or compared as code."""


def test_keys_outside_of_the_name_change_no_bit_and_no_outcome(tmp_path, monkeypatch):
    assert {*VARIED, *OTHERWISE} == LEFT_OUT
    monkeypatch.chdir(tmp_path)
    varied = [f"{key}={value}" for key, value in VARIED.items()]
    kept = [text for text in SMALL if text.partition("=")[0] not in VARIED]
    assert run(*SMALL) == run(*kept, *varied) == 0
    (one,), (other,) = (list(Path(root).glob("*/*")) for root in ("runs", "elsewhere"))
    assert one.name == other.name
    for name in ("weights.safetensors", "results.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
