"""Tables that can be read wherever they are written."""

from tests.runs.made import make_run
from unfold.cli.console import table
from unfold.cli.report import _entries

RUN = "runs/pgd-dncnn-block_compressed_sensing-unfolded/j2c701cb"


def test_names_in_a_file_are_never_cut(capsys, monkeypatch):
    """Eighty columns are assumed where there is no terminal, and are too few for a run."""
    monkeypatch.setenv("COLUMNS", "80")
    job = "algo.stepsize=0.9 prior.denoiser.width=64 seed=3"
    table("sweep", ("job", "state", "validation/psnr", "run"), [(job, "finished", "31.2", RUN)])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "finished" in line]
    assert job in line and RUN in line and len(line) > 120


def test_small_tables_stay_small(capsys):
    table(None, ("score", "value"), [("psnr", "30")])
    assert max(map(len, capsys.readouterr().out.splitlines())) < 30


def test_a_run_with_evaluations_inside_is_itself_in_the_report(tmp_path):
    run = make_run(tmp_path / "runs", "pgd/g1", scores={"test/psnr": 30.0})
    make_run(run, "evaluations/e1", scores={"test/psnr": 20.0})
    assert [one.path for one in _entries(str(run), tmp_path / "runs")] == [run]
    assert [one.path for one in _entries(str(tmp_path / "runs"), tmp_path)] == [run]


def test_a_folder_of_runs_of_one_name_is_its_runs(tmp_path):
    run = make_run(tmp_path / "runs", "pgd/g1", scores={"test/psnr": 30.0})
    make_run(tmp_path / "runs", "other/g1", scores={"test/psnr": 30.0})
    assert [one.path for one in _entries(str(run.parent), tmp_path / "runs")] == [run]
