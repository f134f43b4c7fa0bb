import os

import pytest

from unfold.errors import ConfigError, NonFiniteError, PreemptedError, RunError
from unfold.runs import directory, files, status
from unfold.runs.directory import Request, claim, move_to_attempts
from unfold.runs.identity import differing, source_hashes
from unfold.training.checkpoints.checksum import with_checksum


def compute(path, *, rerun=False, accept_code=False, expected=None, content=None):
    """A run that writes what a run writes; returns what it was asked to do."""
    with claim(path, Request(expected, rerun, accept_code)) as run:
        if run.plan != "finished":
            files.write_json(path / "provenance.json", {"sources": dict(source_hashes())})
            files.write_json(path / "results.json", {"psnr": 30.0})
            files.write_text(path / "content", content or "first")
    return run


def interrupt(path, *, with_checkpoint):
    """A run whose process died: its status says running."""
    files.write_json(path / "provenance.json", {"sources": dict(source_hashes())})
    status.write(path, status.start())
    if with_checkpoint:
        (path / "checkpoints").mkdir()
        (path / "checkpoints/last.ckpt").write_bytes(with_checksum(b"weights\0\0"))


def test_a_new_run_is_finished_once(tmp_path):
    assert compute(tmp_path / "run").plan == "new"
    state = status.read(tmp_path / "run")
    assert (state.state, state.pid, state.resumed) == ("finished", os.getpid(), 0)
    again = compute(tmp_path / "run", content="second")
    assert again.plan == "finished"
    assert again.results() == {"psnr": 30.0}
    assert (tmp_path / "run/content").read_text() == "first"


def test_a_rerun_moves_the_former_content_away(tmp_path):
    for content in ("first", "second", "third"):
        assert compute(tmp_path / "run", rerun=content != "first", content=content).plan == "new"
    assert (tmp_path / "run/content").read_text() == "third"
    assert (tmp_path / "run/attempts/1/content").read_text() == "first"
    assert (tmp_path / "run/attempts/2/content").read_text() == "second"
    assert (tmp_path / "run/attempts/2/status.json").exists()


def test_an_interrupted_run_resumes_from_its_checkpoint(tmp_path):
    interrupt(tmp_path / "run", with_checkpoint=True)
    run = compute(tmp_path / "run")
    assert (run.plan, run.checkpoint) == ("resume", tmp_path / "run/checkpoints/last.ckpt")
    assert status.read(tmp_path / "run").resumed == 1


def test_an_interrupted_run_without_a_checkpoint_starts_again(tmp_path):
    interrupt(tmp_path / "run", with_checkpoint=False)
    assert compute(tmp_path / "run").plan == "new"


def test_what_a_kill_left_half_written_is_gone_at_the_next_start(tmp_path):
    with pytest.raises(NonFiniteError), claim(tmp_path):
        (tmp_path / "checkpoints").mkdir()
        halves = [tmp_path / ".status.json.x.tmp", tmp_path / "checkpoints" / ".last.ckpt.7.tmp"]
        for half in halves:
            half.write_bytes(b"half")
        (tmp_path / "mine.tmp").touch()
        raise NonFiniteError("nan")
    with claim(tmp_path):
        assert not any(half.exists() for half in halves)
        assert (tmp_path / "mine.tmp").exists()


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path):
    interrupt(tmp_path / "run", with_checkpoint=True)
    folder = tmp_path / "run/checkpoints"
    (folder / "last.ckpt").replace(folder / "previous.ckpt")
    (folder / "last.ckpt").write_bytes(with_checksum(b"weights\0\0")[:-1])
    run = compute(tmp_path / "run")
    assert (run.plan, run.checkpoint) == ("resume", folder / "previous.ckpt")
    (note,) = run.notes
    assert "last.ckpt is damaged (it is cut short" in note and "previous.ckpt is used" in note
    assert sorted(p.name for p in folder.iterdir()) == ["last.ckpt.damaged", "previous.ckpt"]


def test_without_a_whole_checkpoint_the_training_starts_anew_and_is_reported(tmp_path):
    interrupt(tmp_path / "run", with_checkpoint=True)
    (tmp_path / "run/checkpoints/last.ckpt").write_bytes(b"")
    run = compute(tmp_path / "run")
    assert run.plan == "new" and "the training starts anew" in run.notes[0]


def test_a_preempted_run_is_marked_and_resumes(tmp_path):
    with pytest.raises(PreemptedError), claim(tmp_path / "run"):
        raise PreemptedError("SIGTERM: ended.")
    state = status.read(tmp_path / "run")
    assert (state.state, state.reason) == ("preempted", "SIGTERM: ended.")
    assert compute(tmp_path / "run").plan == "new"


def test_a_failure_is_recorded_with_its_reason_and_raised(tmp_path):
    with pytest.raises(NonFiniteError), claim(tmp_path / "run"):
        assert status.read(tmp_path / "run").state == "running"
        raise NonFiniteError("the loss is nan at step 3.")
    state = status.read(tmp_path / "run")
    assert (state.state, state.reason) == ("failed", "NonFiniteError: the loss is nan at step 3.")
    assert "UNFOLD_LAUNCH" not in os.environ
    assert compute(tmp_path / "run").plan == "new", "a failed run can be repeated as it stands"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_run_that_is_stopped_does_not_look_finished(tmp_path, error):
    with pytest.raises(error), claim(tmp_path / "run"):
        raise error
    assert status.read(tmp_path / "run").state == "failed"


def test_a_run_made_by_other_code_names_the_files(tmp_path):
    compute(tmp_path / "run")
    sources = {**source_hashes(), "models/deq.py": "0", "gone.py": "1"}
    files.write_json(tmp_path / "run/provenance.json", {"sources": sources})
    message = r"these files differ \(2\): gone\.py, models/deq\.py\. Add rerun=true"
    with pytest.raises(ConfigError, match=message):
        compute(tmp_path / "run")
    assert status.read(tmp_path / "run").state == "finished", "the run itself is untouched"
    assert compute(tmp_path / "run", rerun=True).plan == "new"


def test_a_checkpoint_of_other_code_is_not_continued(tmp_path):
    interrupt(tmp_path / "run", with_checkpoint=True)
    files.write_json(
        tmp_path / "run/provenance.json", {"sources": {**source_hashes(), "gone.py": "1"}}
    )
    remedies = r"gone\.py.*Add accept_code=true to continue it .*, or rerun=true to repeat it"
    with pytest.raises(ConfigError, match=remedies):
        compute(tmp_path / "run")
    assert compute(tmp_path / "run", accept_code=True).plan == "resume"


def test_a_finished_run_of_other_code_stays_whatever_is_accepted(tmp_path):
    compute(tmp_path / "run")
    files.write_json(tmp_path / "run/provenance.json", {"sources": {"gone.py": "1"}})
    with pytest.raises(ConfigError, match=r"Add rerun=true to repeat it;"):
        compute(tmp_path / "run", accept_code=True)


def test_two_starts_of_one_configuration_do_not_meet(tmp_path):
    with claim(tmp_path / "run"):
        for rerun in (False, True):
            with pytest.raises(RunError, match="is being written by"):
                compute(tmp_path / "run", rerun=rerun)
    assert status.read(tmp_path / "run").state == "finished"


def test_a_rank_neither_locks_nor_writes(tmp_path):
    with claim(tmp_path):
        before = sorted(path.name for path in tmp_path.iterdir())
        with claim(tmp_path, Request(rerun=True, rank=1)) as run:
            assert run.is_rank and run.plan == "new"
        assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_rank_waits_for_rank_zero_of_its_own_launch(tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "PATIENCE", 0.5)
    interrupt(tmp_path, with_checkpoint=True)
    message = "rank 3: rank zero has not claimed .* Start the same command, with the same images"
    with pytest.raises(RunError, match=message), claim(tmp_path, Request(rank=3)):
        pass
    assert compute(tmp_path).plan == "resume"
    with claim(tmp_path, Request(rank=3)) as run:
        assert (run.plan, run.is_rank) == ("finished", True)


def test_a_damaged_status_is_said(tmp_path):
    files.write_json(tmp_path / "run/status.json", {"state": "finished"})
    with pytest.raises(RunError, match=r"status\.json lacks 'reason'\. Repeat the run"):
        compute(tmp_path / "run")


def test_there_is_nothing_to_move_in_an_empty_run(tmp_path):
    assert move_to_attempts(tmp_path) is None


def test_files_that_differ_are_listed_in_order():
    assert differing(dict(source_hashes())) == []
    assert differing({}) == sorted(source_hashes())


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, r"provenance\.json \(missing\)\. Add acc"), ("null", "damaged"), ('"a"', "damaged")],
)
def test_an_interrupted_run_that_does_not_say_its_code_is_not_continued(tmp_path, content, message):
    interrupt(tmp_path / "run", with_checkpoint=True)
    origin = tmp_path / "run/provenance.json"
    origin.unlink() if content is None else origin.write_text(f'{{"sources": {content}}}')
    with pytest.raises((ConfigError, RunError), match=message):
        compute(tmp_path / "run")
    if content is None:
        assert compute(tmp_path / "run", accept_code=True).plan == "resume"
