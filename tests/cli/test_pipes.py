"""A command whose output nobody reads any more goes on to its end."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, subprocess, sys
from pathlib import Path
from unfold.cli.console import guarded, say
from unfold.errors import ConfigError

def command(words):
    for i in range(3):
        say(f"line {i}")
        sys.stderr.write("a bar\\n")
    subprocess.run([sys.executable, "-c", "print(1)"], check=True)
    Path(words[0]).write_text("done")
    if words[1:]:
        raise ConfigError("no such thing.")
    return 0

sys.exit(guarded(command, sys.argv[1:]))
"""


def run(words, *, closed, errors, unbuffered=""):
    """The exit code, with the streams in a pipe that is closed at once, and what it said."""
    reader, writer = os.pipe()
    if closed:
        os.close(reader)
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    given = writer if errors else subprocess.PIPE
    process = subprocess.Popen(command, stdout=writer, stderr=given, env=environment)
    os.close(writer)
    said = process.communicate()[1]
    text = ""
    if not closed:
        with os.fdopen(reader) as file:
            text = file.read()
    return process.returncode, text, (said or b"").decode()


@pytest.mark.parametrize("errors", [False, True])
def test_a_closed_pipe_ends_nothing(tmp_path, errors):
    code, _, said = run([tmp_path / "note"], closed=True, errors=errors)
    assert (tmp_path / "note").read_text() == "done"
    assert code == 141, "as of a program that SIGPIPE ends"
    assert said == ("" if errors else "a bar\n" * 3)


def test_an_error_keeps_its_code(tmp_path):
    assert run([tmp_path / "note", "fails"], closed=True, errors=True)[0] == 2


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_pipe_that_is_read_has_everything_in_order(tmp_path, unbuffered):
    words = [tmp_path / "note"]
    code, text, _ = run(words, closed=False, errors=True, unbuffered=unbuffered)
    assert code == 0
    assert text == "".join(f"line {i}\na bar\n" for i in range(3)) + "1\n"
