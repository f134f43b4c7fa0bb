"""What other users see of a process: its words, and no secret among them."""

import json
import os
import stat
import sys
import time
from pathlib import Path

import pytest

from unfold.config.errors import Problem
from unfold.launchers.launcher import command
from unfold.launchers.parallel import Parallel
from unfold.runs.hidden_words import VARIABLE, hidden, revealed
from unfold.runs.secret_text import REDACTED, without_secrets
from unfold.runs.secrets import redacted_word

WORDS = ["algo=pgd", "logger.token=swordfish", "seed=1", "x={password: abc, lr: 1}"]


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def test_words_with_secrets_go_through_a_file_of_the_user_alone(tmp_path, monkeypatch):
    shown = hidden(WORDS, tmp_path)
    kept = f"logger.token={REDACTED}", f"x={{password: {REDACTED}, lr: 1}}"
    assert shown.words == ["algo=pgd", kept[0], "seed=1", kept[1]]
    path = shown.variables[VARIABLE]
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    monkeypatch.setenv(VARIABLE, path)
    assert revealed([*shown.words, "trainer.progress=false"]) == [*WORDS, "trainer.progress=false"]
    assert VARIABLE not in os.environ, "what this process starts is not meant"
    assert revealed(shown.words) == shown.words


def test_words_without_secrets_need_no_file(tmp_path):
    words = ["algo=pgd", "logger.token=${oc.env:TOKEN}"]
    assert hidden(words, tmp_path) == (words, {})
    assert not list(tmp_path.iterdir())
    assert revealed(words) == words


def test_every_launcher_starts_a_job_without_its_secrets(tmp_path):
    line, variables = command(WORDS, tmp_path)
    assert "swordfish" not in " ".join([*line, *variables.values()])
    assert line[2:] == [*map(redacted_word, WORDS), "trainer.progress=false"]


PROGRAM = """
import json, sys
from unfold.cli.runtime import as_single_job
from unfold.runs.hidden_words import revealed
words = revealed(sys.argv[1:])
with as_single_job(words):
    print(json.dumps([sys.argv[1:], words, revealed(sys.argv[1:])]))
"""


def test_a_job_has_the_secrets_that_its_command_line_has_not(tmp_path, monkeypatch):
    """And so have the ranks that it starts by repeating `sys.argv`."""
    program = tmp_path / "job.py"
    program.write_text(PROGRAM)
    monkeypatch.setattr(sys, "argv", [str(program)])
    folder = tmp_path / "0"
    folder.mkdir()
    job = Parallel().start(WORDS, folder, 0)
    while job.code is None:
        time.sleep(0.05)
    seen, mine, rank = json.loads((folder / "log").read_text())
    assert "swordfish" not in str(seen) and len(seen) == len(WORDS) + 1
    assert mine == rank == [*WORDS, "trainer.progress=false"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("algo: pgd\nseed: 0\n", "algo: pgd\nseed: 0\n"),
        ("a:\n  token: abc\n  lr: 1\n", f"a:\n  token: {REDACTED}\n  lr: 1\n"),
        ("password: |\n  abc\n  def\n", f"password: {REDACTED}\n"),
        ("# Config\n*****\ntoken: abc\nseed: 1", f"# Config\n*****\ntoken: {REDACTED}\nseed: 1"),
        ("loss.token = abc", f"loss.token = {REDACTED}"),
    ],
)
def test_what_is_shown_has_no_secrets(text, kept):
    assert without_secrets(text) == kept


def test_a_mistake_in_a_secret_is_told_without_it():
    text = f"loss.token = {REDACTED}: must be short."
    assert str(Problem("loss.token", "abc", "must be short.")) == text
    assert str(Problem("loss.token = abc", None, "must be short.")) == text
    for word in ("++logger.token={a: abc", "logger={token: abc", "note: logger.token=abc"):
        assert "abc" not in str(Problem(word, None, "cannot be read."))
