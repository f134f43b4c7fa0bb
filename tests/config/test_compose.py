"""From words to jobs."""

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from tests.config.folder import checked, refusal
from unfold.config.compose import compose
from unfold.config.options import configs_folder, package_folder
from unfold.errors import RunError


def test_a_job_is_plain_data():
    (job,) = compose(["seed=3", "algo=admm"]).jobs
    assert job.config["seed"] == 3
    assert type(job.config["algo"]) is dict
    assert type(job.config["trainable"]["learn"]) is list
    assert "hydra" not in job.config
    assert job.choices["algo"] == "admm"
    assert job.overrides == ("seed=3", "algo=admm")


def test_hydra_leaves_nothing_behind():
    compose(["seed=3"])
    assert not GlobalHydra.instance().is_initialized()
    assert not HydraConfig.initialized(), "Lightning would start its ranks in Hydra's way"


def test_choices_can_be_named_in_a_value():
    (job,) = compose(["name=${hydra:runtime.choices.algo}"]).jobs
    assert job.config["name"] == "pgd"


def test_a_sweep_is_the_product_of_its_values_each_once():
    composed = compose(["-m", "algo=pgd,admm", "seed=0,1,0", "strict=true"])
    assert composed.repeated == 2
    assert [(j.config["algo"]["_target_"][-4:], j.config["seed"]) for j in composed.jobs] == [
        (".PGD", 0), (".PGD", 1), ("ADMM", 0), ("ADMM", 1),
    ]  # fmt: skip
    assert composed.jobs[2].overrides == ("algo=admm", "seed=0", "strict=true")


def test_a_sweep_may_choose_by_a_pattern():
    assert [j.choices["algo"] for j in compose(["-m", "algo=glob(*)"]).jobs] == ["admm", "pgd"]


def test_a_preset_sweep_gives_way_to_the_command_line():
    jobs = compose(["-m", "sweep=algorithms", "algo=pgd,admm"]).jobs
    assert {(j.choices["algo"], j.choices["model"]) for j in jobs} == {
        (a, m) for a in ("pgd", "admm") for m in ("unfolded", "deq")
    }


def test_the_command_line_wins_over_an_experiment():
    (job,) = compose(["experiment=quick", "trainer.max_steps=7"]).jobs
    assert job.config["trainer"]["max_steps"] == 7


def test_own_options_are_found(tmp_path):
    (tmp_path / "algo").mkdir()
    (tmp_path / "algo/mine.yaml").write_text("defaults: [pgd, _self_]\nstepsize: 0.3\n")
    (job,) = checked("--config-dir", str(tmp_path), "algo=mine")
    assert job.groups["algo"].arguments["stepsize"] == 0.3
    assert "Allowed: admm, mine, pgd" in refusal("--config-dir", str(tmp_path), "algo=nine1")


def test_an_incomplete_installation_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("unfold.config.options.package_folder", lambda: tmp_path / "unfold")
    with pytest.raises(RunError, match="The configuration files are missing: looked in"):
        configs_folder()


def test_a_wheel_carries_its_configs_inside(tmp_path, monkeypatch):
    (tmp_path / "unfold/configs").mkdir(parents=True)
    (tmp_path / "unfold/configs/train.yaml").write_text("")
    monkeypatch.setattr("unfold.config.options.package_folder", lambda: tmp_path / "unfold")
    assert configs_folder() == tmp_path / "unfold/configs"
    assert package_folder().name == "unfold"
