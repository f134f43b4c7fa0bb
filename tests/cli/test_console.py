"""Output that arrives in every terminal, and in which data forges neither a line nor a colour."""

import errno
import io
import os
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from unfold.cli.console import guarded, note, say, say_error, table
from unfold.cli.main import dispatch
from unfold.cli.sweeps.sweep import Entry, conclude
from unfold.errors import ConfigError, RunError, visible
from unfold.runs.status import Outcome

ROOT = Path(__file__).parents[2]

GREEK = "λ = ‖Ax − y‖² ± 3"

HOSTILE = "a\x1b[2J\r\nerror: forged\u202e\udcff\x9b1m [/] [red]x[/red] [algo.*]"

SHOWN = r"a\x1b[2J\r\nerror: forged\u202e\udcff\x9b1m [/] [red]x[/red] [algo.*]"

ENCODINGS = ("ascii", "latin-1", "gbk", "cp1252", "utf-8")


def escaped(text, encoding):
    """Each character that the encoding lacks as Python writes it in a source."""
    shown = []
    for c in text:
        try:
            shown.append(c.encode(encoding).decode(encoding))
        except UnicodeEncodeError:
            code = ord(c)
            shown.append(f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
    return "".join(shown)


def written(command, encoding="utf-8"):
    """The exit code, and what a command writes to two streams of an encoding."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
        code = guarded(command, ())
    texts = []
    for stream in streams:
        stream.flush()
        texts.append(stream.buffer.getvalue().decode(encoding))
    return code, *texts


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_way_to_write_arrives_in_every_encoding(encoding):
    def command(_):
        say(GREEK)
        say_error(GREEK)
        note(GREEK)
        table(GREEK, ("λ", "‖"), [("μ", GREEK)])
        print("a library: " + GREEK)  # noqa: T201
        sys.stderr.write(warnings.formatwarning(GREEK, UserWarning, "file", 1))
        raise ConfigError(GREEK)

    code, out, err = written(command, encoding)
    text = escaped(GREEK, encoding)
    assert code == 2
    assert out.startswith(f"{text}\n") and f"a library: {text}\n" in out
    assert out.count(text) == 4 and escaped("μ", encoding) in out
    assert err == f"error: {text}\n{text}\nwarning: {text}\nerror: {text}\n"


def test_data_is_neither_markup_nor_a_line_nor_a_control():
    def command(_):
        say(HOSTILE)
        table(HOSTILE, ("job", HOSTILE), [(HOSTILE, "[/]"), ("[algo.*]", ":smile:")])
        sys.stderr.write(warnings.formatwarning(HOSTILE, UserWarning, "file", 1))
        raise ConfigError("2 problems", HOSTILE, "b")

    code, out, err = written(command)
    assert code == 2
    assert out.count(SHOWN) == 4 and "[algo.*]" in out and ":smile:" in out
    assert err == f"warning: {SHOWN}\nerror: 2 problems\n  {SHOWN}\n  b\n"
    for text in (out, err):
        assert text.replace("\n", "").isprintable()
        assert not any(line.startswith("error: forged") for line in text.splitlines())


def test_an_unexpected_error_has_one_line_and_a_hint():
    def command(_):
        raise ValueError(HOSTILE)

    code, _, err = written(command)
    first, second = err.splitlines()
    assert code == 1
    assert first.startswith(r"error: ValueError: a\x1b[2J error: forged\u202e")
    assert second.startswith("  This is unexpected: UNFOLD_DEBUG=1")


def test_a_text_that_can_be_shown_stays_as_it_is():
    assert visible(GREEK) is GREEK
    assert visible("\u2028\t\x85\xa0") == r"\u2028\t\x85\xa0"


@pytest.mark.parametrize("width", [10, 20, 40])
def test_a_narrow_terminal_loses_no_character(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    monkeypatch.setenv("TERM", "dumb")
    names = ("job", "state", "validation/psnr", "run or reason", "updated", "more")
    row = ("algo.stepsize=0.9", "finished", "31.2", "runs/pgd-dncnn/j2c701cb", "2026", "end")
    _, out, _ = written(lambda _: table("sweep", names, [row]) or 0)
    for text in (*names, *row):
        for letter in text.replace(" ", ""):
            assert out.count(letter) >= sum(t.count(letter) for t in (*names, *row)), text


class Full(io.RawIOBase):
    """A file on a disk without space."""

    def writable(self):
        return True

    def write(self, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_behind_the_output_is_reported_at_the_end(monkeypatch):
    done = []

    def command(_):
        say("lost")
        table(None, ("a",), [("b",)])
        done.append(1)
        return 0

    err = io.StringIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(Full(), 1)))
    monkeypatch.setattr(sys, "stderr", err)
    code = guarded(command, ())
    sys.stdout.detach()
    assert (code, done) == (RunError.exit_code, [1])
    assert err.getvalue().startswith("error: standard output cannot be written: ")
    assert "No space left" in err.getvalue()


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_closed_stream_is_no_failure(monkeypatch, closed):
    monkeypatch.setattr(sys, closed, None)

    def command(_):
        say(GREEK)
        table(None, ("a",), [("b",)])
        raise ConfigError(GREEK)

    assert guarded(command, ()) == 2
    assert getattr(sys, closed) is None


COMMAND = "import sys; from unfold.cli.main import main; sys.argv[1:] = {0}; main()"


@pytest.mark.parametrize(
    ("redirection", "code"),
    [(">/dev/full", 6), (">&-", 0), (">&- 2>&- <&-", 0), ("2>/dev/full", 0)],
)
def test_a_process_whose_output_is_lost_ends_as_it_should(tmp_path, redirection, code):
    text = COMMAND.format(["list"])
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, text],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk"])
@pytest.mark.parametrize(
    "words", [["explain"], ["doctor"], ["check", "physics=denoising", "--only=PH1"], ["--help"]]
)
def test_commands_write_formulas_in_every_encoding(encoding, words):
    code, out, err = written(lambda _: dispatch(words), encoding)
    assert (code, err) == (0, "")
    assert len(out) > 100


def test_a_sweep_over_values_with_brackets_ends_with_its_table(capsys):
    labels = ("name=[/x]", "trainable.learn=[algo.*]", "name=[/]", "name=a\x1b[31m")
    entries = [Entry((text,), Outcome(Path("runs"), {}, repeated=False), None) for text in labels]
    assert guarded(lambda _: len(conclude(entries, "validation/psnr")), ()) == len(labels)
    said = capsys.readouterr()
    assert all(visible(text) in said.out for text in labels) and not said.err
