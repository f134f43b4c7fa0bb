"""The script that holds the guards of a training to their price says so in its exit code."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "benchmarks/overhead.py"


@pytest.fixture(scope="module")
def overhead():
    spec = importlib.util.spec_from_file_location("overhead", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("bar", "code", "word"), [(10.0, 0, "holds"), (1.0, 1, "MISSED")])
def test_the_last_line_is_the_figure_and_the_code_the_verdict(
    overhead, monkeypatch, capsys, bar, code, word
):
    words = ("data.crop=16", "data.batch_size=2", "model.iterations=1", "prior=l1")
    monkeypatch.setattr("sys.argv", ["overhead.py", "--steps", "1", *words])
    monkeypatch.setattr(overhead, "BAR", bar)
    assert overhead.main() == code
    last = capsys.readouterr().out.splitlines()[-1]
    assert f"times the bare step with all guards (bar {bar}: {word})" in last
    assert float(last.split()[0]) > 1
