"""Inputs that are wrong in unusual ways end in one clear error, before anything is computed."""

import sqlite3
from pathlib import Path

import pytest
import torch

from tests.training.small import run
from unfold.algorithms.pgd import PGD
from unfold.cli import check as check_module
from unfold.cli.console import guarded
from unfold.cli.dry_run import fitting
from unfold.cli.main import dispatch
from unfold.cli.runtime import place_of
from unfold.cli.sweeps.search import budget_of
from unfold.cli.sweeps.study import Budget, Study, readable_database
from unfold.config.arguments import TRAIN
from unfold.config.build import verify
from unfold.config.compose import compose
from unfold.config.sweep import space_of
from unfold.data.image_data import EmbeddedData
from unfold.errors import ConfigError, RunError, ShapeError
from unfold.evaluation.records import rounded
from unfold.fidelities.l2 import L2
from unfold.models.unfolded import Unfolded
from unfold.priors.tikhonov import Tikhonov
from unfold.reconstructor import Reconstructor
from unfold.training.fit import limits_explained, make_trainer
from unfold.training.settings import NoLog, TrainerSettings


@pytest.mark.parametrize("digits", ["²", "٣²", "--3", "1_0", ""])
def test_a_number_of_trials_in_other_digits_is_refused(digits):
    with pytest.raises(ConfigError, match=r"sweep.trials = .*: a whole number is expected"):
        budget_of("optuna", {"sweep.trials": digits})


@pytest.mark.parametrize("text", ["[" * 600, "[" * 600 + "]" * 600, "a(" * 51 + ")" * 51])
def test_brackets_inside_each_other_are_counted_before_they_are_parsed(text):
    with pytest.raises(ConfigError, match=r"brackets are open inside each other.* at most 50"):
        TRAIN.parse([f"name={text}"])
    assert TRAIN.parse(["name=" + "[" * 50 + "]" * 50]).overrides


def test_an_override_that_is_no_text_is_refused_as_such():
    with pytest.raises(ConfigError, match=r"is not UTF-8.*Type it in UTF-8"):
        TRAIN.parse(["data.root='/images/\udcff'"])


@pytest.mark.parametrize("name", ["algo/mine", "physics/noise/mine"])
def test_an_option_in_another_encoding_is_named(tmp_path, name):
    path = tmp_path / f"{name}.yaml"
    path.parent.mkdir(parents=True)
    path.write_bytes("# café\n_target_: unfold.algorithms.pgd.PGD\n".encode("latin-1"))
    group = name.rpartition("/")[0]
    with pytest.raises(ConfigError, match=rf"{path}: is not YAML in UTF-8.*save it as UTF-8"):
        verify(compose(["--config-dir", str(tmp_path), f"{group}=mine"]))


@pytest.mark.parametrize("damage", ["garbage", "truncated", "schema"])
def test_a_damaged_database_of_a_search_is_named(tmp_path, damage):
    pytest.importorskip("optuna")
    made = space_of(["a=1,2"]), "validation/psnr", str(tmp_path), Budget(2)
    Study(*made)
    (path,) = tmp_path.glob(".searches/*.sqlite")
    if damage == "garbage":
        path.write_bytes(b"not a database" * 400)
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("update alembic_version set version_num = 'v0'")
    with (
        pytest.raises(RunError, match=r"\.searches: the database of this search cannot be used"),
        readable_database(str(tmp_path)),
    ):
        _ = Study(*made).made


def test_one_process_inside_a_job_of_slurm_is_no_rank_of_it(tmp_path, monkeypatch):
    for name, value in {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "3", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    trainer = make_trainer(TrainerSettings(accelerator="cpu"), 50, tmp_path, NoLog(), [])
    assert (trainer.world_size, trainer.global_rank) == (1, 0)


def test_a_killed_process_that_loads_images_is_explained():
    text = "DataLoader worker (pid 7) is killed by signal: Killed. "
    with (
        pytest.raises(RunError, match=r"that loads images was killed.*Lower data\.workers"),
        limits_explained(Reconstructor(PGD(), Tikhonov(), L2(), Unfolded(2)), EmbeddedData(seed=0)),
    ):
        raise RuntimeError(text)


def test_an_unequal_job_of_a_sweep_stops_it_before_the_first_trains(calls, capsys, configs):
    (configs / "algo/entropic.yaml").write_text(
        "_target_: unfold.algorithms.proximal_mirror_descent.ProximalMirrorDescent\n"
    )
    assert guarded(lambda a: dispatch(["train", *a]), ["-m", "algo=pgd,entropic", "seed=0,1"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: 1 jobs of the sweep cannot run\n  algo=entropic seed=0: ")
    assert not calls and not Path("runs").exists()


@pytest.fixture
def nothing(calls, configs):
    """Configurations with `evaluation=none`."""
    path = configs / "evaluation/none.yaml"
    path.write_text("_target_: unfold.evaluation.base.NoEvaluation\n")
    return calls


def test_nothing_to_compute_is_an_error(nothing, capsys, monkeypatch):
    words = ["train", "prior=tikhonov", "trainable.learn=[]", "evaluation=none"]
    monkeypatch.setattr("tests.cli.conftest.Images.truth", "")
    monkeypatch.setattr("unfold.cli.job.dry_run", lambda *parts, **options: None)
    assert guarded(dispatch, words) == 2
    assert "nothing to compute" in capsys.readouterr().err
    assert not nothing and not Path("runs").exists()


def test_an_evaluation_of_nothing_is_an_error(nothing, capsys):
    assert guarded(dispatch, ["train", "evaluation=none"]) == 0
    (run,) = Path("runs").glob("*/*")
    nothing.clear()
    assert guarded(dispatch, ["evaluate", f"run={run}"]) == 2
    assert "it measures nothing. Name another one" in capsys.readouterr().err
    assert not nothing and not (run / "evaluations").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (26.604, "26.60"),
        (100.0, "100.00"),
        (0.78125, "0.7812"),
        (0.0021349, "0.002135"),
        (3.21e-9, "3.210e-09"),
        (0.0, "0.00"),
        (-0.5, "-0.5000"),
        (float("nan"), ""),
    ],
)
def test_figures_of_tables_have_four_significant_digits(value, text):
    assert rounded(value) == text


class Halved(torch.nn.Module):
    """A network that fails on odd sides, as a U-Net does whose levels do not fit."""

    def forward(self, v, sigma):
        small = torch.nn.functional.avg_pool2d(v, 2)
        return v + 0 * torch.nn.functional.interpolate(small, scale_factor=2)


@pytest.mark.parametrize(("multiple", "code"), [(1, 1), (2, 0)])
def test_a_network_that_needs_even_sides_is_checked_on_them(monkeypatch, capsys, multiple, code):
    from unfold.denoisers.dncnn import DnCNN

    forward = DnCNN.forward
    monkeypatch.setattr(
        DnCNN, "forward", lambda self, v, s: forward(self, v, s) + Halved()(v, s) - v
    )
    words = ["prior=dncnn", "data.crop=48", f"data.multiple_of={multiple}"]
    assert guarded(check_module.check, words) == code
    said = capsys.readouterr()
    if code:
        assert "set data.multiple_of=2" in said.err and "unexpected" not in said.err


def test_a_network_that_needs_even_sides_is_refused_before_training():
    with (
        pytest.raises(ShapeError, match=r"network of the prior cannot be applied.*set data.multip"),
        fitting("a measurement of shape (1, 1, 7, 7)"),
    ):
        Halved()(torch.ones(1, 1, 7, 7), 0.1)


def test_a_prior_that_cannot_act_is_not_in_the_name():
    for words, name in (
        (["algo=learned_primal_dual"], "learned_primal_dual-motion_blur"),
        (["algo=landweber", "prior=tv", "model=classical"], "landweber-motion_blur-classical"),
        (["algo=pgd"], "pgd-dncnn-motion_blur"),
    ):
        (job,) = verify(compose(words))
        assert place_of(job, "images").parent.name == name


def test_each_validation_has_a_line_without_a_progress_bar(tmp_path, capsys):
    """Eight images with two crops each make epochs of four batches of four."""
    run(tmp_path, steps=10)
    lines = capsys.readouterr().out.splitlines()
    found = [line.partition(":") for line in lines if " validation/psnr " in line]
    assert [step for step, _, _ in found] == ["step 4", "step 8", "step 10"]
    assert not [line for line in lines if line.startswith("note")]


def test_a_training_within_few_epochs_is_validated_a_few_times(tmp_path, capsys, monkeypatch):
    """An epoch is four steps: of eight, one validation would be on the way."""
    monkeypatch.setattr("unfold.training.settings.SHORTEST", 1)
    run(tmp_path / "8", steps=8)
    run(tmp_path / "given", steps=8, validate_every=1)
    run(tmp_path / "epochs", steps=-1, max_epochs=1)
    lines = capsys.readouterr().out.splitlines()
    steps = [int(line.split()[1][:-1]) for line in lines if " validation/psnr " in line]
    assert steps == [2, 4, 6, 8, 8, 4, 8, 8, 1, 2, 3, 4, 4]


@pytest.mark.parametrize(
    ("batches", "settings", "expected"),
    [
        (50, {}, (1, None)),  # the default run
        (1125, {}, (None, 113)),  # 360 images, 25 crops of each, batches of 8
        (225, {}, (None, 113)),
        (225, {"validate_every": 1}, (1, None)),
        (1125, {"accumulate": 4}, (None, 4 * 113)),
        (1125, {"max_steps": -1, "max_epochs": 1}, (None, 282)),
        (1125, {"max_steps": -1, "max_epochs": 3}, (1, None)),
        (1125, {"max_steps": 4500}, (1, None)),
    ],
)
def test_the_validations_of_a_training(batches, settings, expected):
    assert TrainerSettings(**settings).validation(batches) == expected
