"""Every bad input that can be typed is refused before anything is made."""

import pytest

from tests.bad_input.cases import CASES, make_files
from unfold.cli.console import guarded
from unfold.cli.main import dispatch


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    make_files(folder)
    return folder


@pytest.fixture
def no_training(monkeypatch, tmp_path):
    """An empty folder to work in, where a training that begins is a failure."""

    def begun(*parts, **more):
        raise AssertionError("accepted: the training began")

    monkeypatch.setattr("unfold.training.fit.fit", begun)
    monkeypatch.setattr("unfold.evaluation.base.evaluate", begun)
    monkeypatch.chdir(tmp_path)
    return tmp_path


FIRST = [case for i, case in enumerate(CASES) if case.number not in {c.number for c in CASES[:i]}]
"""One command line of every row; `python -m tests.bad_input` tries them all, as processes."""


@pytest.mark.filterwarnings("default::unfold.solvers.result.ConvergenceWarning")
@pytest.mark.parametrize("case", FIRST, ids=lambda case: f"{case.number} {case.arguments}")
@pytest.mark.filterwarnings("ignore::unfold.errors.DataWarning")  # shown, and no error
def test_it_is_refused(case, files, no_training, capsys):
    arguments = case.arguments.format(files).split()
    # Without the operators to evaluate on: half of the time goes into reading their options.
    code = guarded(dispatch, ["train", "evaluation=none", *arguments])
    said = capsys.readouterr().err
    assert code == case.code, said
    for part in case.says:
        assert part in said
    assert "Traceback" not in said
    assert "unexpected" not in said
    assert not list(no_training.iterdir()), "a bad input leaves nothing behind"
