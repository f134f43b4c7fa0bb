"""Thousands of command lines at random: each is refused in our words, or a training begins."""

import contextlib
import io
import json
import os
import signal
import tempfile
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

import unfold.config.compose
import unfold.config.options
from tests.config.folder import checked, make_folder
from tests.config.test_fuzz import WORDS
from tests.faults.forked import SERVER
from tests.faults.training import Verdict
from unfold.cli.console import guarded
from unfold.cli.train import train
from unfold.errors import UnfoldError

EXAMPLES = 3000
DEADLINE = 20.0
"""Seconds for one command line, on a busy machine."""

PATIENCE = 1200.0
"""Seconds for all of a process: what hangs inside a library hears no signal."""

ONLY_CHECKED = ("-m", "runs_dir", "--help", "-h")
"""What would start processes, or write elsewhere."""


class BegunError(BaseException):
    """The configuration is legal, and its training would begin."""


class HangError(BaseException):
    """An example that takes too long."""


class Found(NamedTuple):
    """What became of the command lines of one process.

    tried: how many there were.
    refused: with one of our errors.
    begun: those that are legal.
    faults: the others, each with its reason.
    """

    tried: int
    refused: int
    begun: int
    faults: list[str]


def begin(*parts: object, **more: object) -> None:
    """Stands for a training or an evaluation."""
    raise BegunError


def _hang(number: int, frame: FrameType | None) -> None:
    raise HangError


def outcome(words: list[str], runs: Path) -> str:
    """`refused`, `begun`, or what is wrong."""
    said = io.StringIO()
    signal.setitimer(signal.ITIMER_REAL, DEADLINE)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            if any(part in word for word in words for part in ONLY_CHECKED):
                checked(*words)
                return "begun"
            code = guarded(train, [*words, f"runs_dir={runs}"])
    except BegunError:
        return "begun"
    except UnfoldError as error:
        return "refused" if str(error).strip() else "an empty error"
    except HangError:
        return f"took more than {DEADLINE:g} s"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    text = said.getvalue()
    whole = code > 1 and "error: " in text and "Traceback" not in text and "unexpected" not in text
    return "refused" if whole else f"exit {code}: {text}"


def try_them(folder: Path, seed: int, count: int) -> None:
    """In its own process: examples, and what became of them in a file."""
    folder.mkdir()
    os.chdir(folder)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    signal.signal(signal.SIGALRM, _hang)
    configs = folder / "configs"
    configs.mkdir()
    make_folder(configs)
    for module in (unfold.config.compose, unfold.config.options):
        module.configs_folder = lambda: configs
    unfold.training.fit.fit = unfold.evaluation.base.evaluate = begin
    came: list[tuple[list[str], str]] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(st.lists(WORDS, max_size=3))
    def example(words: list[str]) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as runs:
            end = outcome(words, Path(runs))
            states = [path.read_text() for path in Path(runs).rglob("status.json")]
            if any('"finished"' in state for state in states):
                end = "a run is marked finished"
            came.append((words, end))

    example()
    ends = [end for _, end in came]
    faults = [f"{words}: {end}" for words, end in came if end not in ("refused", "begun")]
    found = Found(len(came), ends.count("refused"), ends.count("begun"), faults)
    (folder / "found.json").write_text(json.dumps(found))


def trial(folder: Path, seed: int, jobs: int) -> Verdict:
    """Share the examples among processes, each with its own seed."""
    folders = [folder / str(i) for i in range(jobs)]
    processes = [
        SERVER.Process(target=try_them, args=(own, seed + i, EXAMPLES // jobs))
        for i, own in enumerate(folders)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
        process.kill()
    ended = [path for own in folders if (path := own / "found.json").exists()]
    all_found = [Found(*json.loads(path.read_text())) for path in ended]
    faults = [fault for found in all_found for fault in found.faults]
    tried = sum(found.tried for found in all_found)
    refused = sum(found.refused for found in all_found)
    begun = sum(found.begun for found in all_found)
    shown = "".join(f"\n  {fault}" for fault in faults[:10])
    hangs = jobs - len(all_found)
    line = (
        f"{tried} command lines: {refused} refused in our words, {begun} legal, {len(faults)} "
        f"otherwise, {hangs} processes did not end{shown}"
    )
    return Verdict(tried >= EXAMPLES * 9 // 10 and not faults and hangs == 0, line)
