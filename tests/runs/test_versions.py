"""Configurations of earlier versions: each is read, and those of later ones are refused."""

import copy
from pathlib import Path

import pytest
import yaml

from tests.runs.made import make_run
from unfold.cli.job import run_job
from unfold.config.build import verify
from unfold.config.compose import Composed, Job
from unfold.errors import ConfigError
from unfold.runs import files
from unfold.runs.catalogue import catalogue
from unfold.runs.migration import Migration, in_turn, moved, renamed
from unfold.runs.reference import read_reference
from unfold.runs.versions import MIGRATIONS, SCHEMA_VERSION, migrate

GOLDEN = Path(__file__).parents[1] / "config/golden"

BEFORE = {
    "algo": {"gamma": 0.5, "inner": {"steps": 3}},
    "seed": 1,
    "schema_version": 1,
}


def doubled(config):
    return {**config, "algo": {**config["algo"], "stepsize": 2 * config["algo"]["stepsize"]}}


WAYS = {
    1: renamed({"algo.gamma": "algo.stepsize", "algo.inner": "model.solver"}),
    2: Migration(doubled, tuple),
}
"""Version 2 renames two keys, and version 3 counts one of them in other units."""


def test_there_is_a_way_from_every_version_and_an_old_run_of_each():
    assert set(MIGRATIONS) == set(range(1, SCHEMA_VERSION))
    numbers = {int(path.stem.split("_")[1]) for path in GOLDEN.iterdir()}
    assert numbers == set(range(1, SCHEMA_VERSION + 1))


def of_today(path):
    """A golden configuration, brought to the present version."""
    stored = yaml.safe_load(path.read_text())
    assert path.stem.split("_")[1] == str(stored["schema_version"])
    return migrate(stored, (), str(path)).config


@pytest.mark.parametrize("path", sorted(GOLDEN.iterdir()), ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")
def test_old_configurations_still_load_and_train(path, tmp_path):
    config = of_today(path)
    config["runs_dir"], config["trust"] = str(tmp_path), []
    config["data"] |= {"crop": 16, "batch_size": 2}
    config["trainer"] |= {"max_steps": 1, "progress": False, "accelerator": "cpu", "threads": 1}
    for node in (config["prior"], config["model"], config["model"]["backward"]):
        node |= {key: 3 for key in node if key == "max_iterations"}
    config["evaluation"] = {"_target_": "unfold.evaluation.base.NoEvaluation"}
    choices = {"algo": "a", "prior": "b", "physics": "c", "model": "deq"}
    (checked,) = verify(Composed((Job(config, choices, ()),), ()))
    assert checked.settings.schema_version == SCHEMA_VERSION
    assert all(plan is not None for plan in checked.groups.values())
    outcome = run_job(checked)
    assert outcome.scores["steps"] == 1


@pytest.mark.parametrize("name", ["first", "second"])
def test_the_first_versions_need_their_way(name):
    """Without it, the keys and the classes of the first day are unknown: it is no formality."""
    path = GOLDEN / f"version_1_{name}.yaml"
    stored = yaml.safe_load(path.read_text()) | {"schema_version": SCHEMA_VERSION}
    with pytest.raises(ConfigError, match=r"model\.backward\.on_failure = warn: unknown key"):
        verify(Composed((Job(stored, {}, ()),), ()))
    backward = of_today(path)["model"]["backward"]
    assert backward["_target_"] == "unfold.models.equilibrium_gradient.Implicit"
    assert backward["solver"]["_target_"] == "unfold.solvers.anderson.Anderson"
    assert backward["on_divergence"] == "warn" and "on_failure" not in backward


def test_words_of_the_first_day_name_what_they_named():
    words = (
        "model.backward.on_failure=error",
        "+model.solver._target_=unfold.solvers.fixed_point.Anderson",
        "name=unfold.solvers.fixed_point.Anderson",
        "seed=1",
    )
    assert migrate({"schema_version": 1}, words, "run").words == (
        "model.backward.on_divergence=error",
        "+model.solver._target_=unfold.solvers.anderson.Anderson",
        "name=unfold.solvers.fixed_point.Anderson",
        "seed=1",
    )


def test_classes_are_found_in_lists_too_and_nothing_that_is_given_changes():
    before = {"evaluation": {"physics": [{"_target_": "a.B", "note": "a.B"}]}, "_target_": 1}
    way = in_turn(moved({"a.B": "b.B"}), renamed({"evaluation.physics": "evaluation.laws"}))
    kept = copy.deepcopy(before)
    after = way.config(before)
    assert after == {"evaluation": {"laws": [{"_target_": "b.B", "note": "a.B"}]}, "_target_": 1}
    assert before == kept


def test_the_steps_are_taken_in_order_and_change_nothing_that_they_are_given():
    before = copy.deepcopy(BEFORE)
    words = ("++algo.gamma=0.5", "algo.inner.steps=3", "schema_version=1", "seed=1")
    found = migrate(BEFORE, words, "run", WAYS, 3)
    assert before == BEFORE
    assert found.config == {
        "algo": {"stepsize": 1.0},
        "model": {"solver": {"steps": 3}},
        "seed": 1,
        "schema_version": 3,
    }
    expected = ("++algo.stepsize=0.5", "model.solver.steps=3", "schema_version=3", "seed=1")
    assert found.words == expected
    again = migrate(found.config, found.words, "run", WAYS, 3)
    assert again == found, "the present version stays as it is"


def test_a_key_that_is_not_there_needs_no_renaming():
    found = migrate({"algo": {"beta": 1}}, ("algo.gammas=1",), "run", {1: WAYS[1]}, 2)
    assert found.config == {"algo": {"beta": 1}, "schema_version": 2}
    assert found.words == ("algo.gammas=1",), "another key that begins alike"


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (SCHEMA_VERSION + 1, "written by a later unfold; this one reads .* Install a newer unfold"),
        (0, "must be a whole number, 1 or above"),
        ("1", "must be a whole number, 1 or above"),
        (True, "must be a whole number, 1 or above"),
    ],
)
def test_versions_that_cannot_be_read_are_refused(version, message):
    with pytest.raises(ConfigError, match=f"run: schema_version = {version}: {message}"):
        migrate({"schema_version": version}, (), "run")


def test_runs_are_read_in_the_present_version(tmp_path, monkeypatch):
    monkeypatch.setattr("unfold.runs.reference.migrate", lambda *a: migrate(*a, WAYS, 3))
    monkeypatch.setattr("unfold.runs.catalogue.migrate", lambda *a: migrate(*a, WAYS, 3))
    path = make_run(tmp_path, "pgd/one", schema_version=1, algo={"gamma": 0.5})
    files.write_yaml(path / "overrides.yaml", ["algo.gamma=0.5"])
    reference = read_reference(str(path))
    assert reference.config["algo"] == {"stepsize": 1.0}
    assert reference.overrides == ("algo.stepsize=0.5",)
    (entry,) = catalogue(tmp_path)
    assert entry.get("algo.stepsize") == "1.0"


def test_a_run_of_a_later_version_is_refused_by_its_file(tmp_path):
    path = make_run(tmp_path, "pgd/one", schema_version=SCHEMA_VERSION + 1)
    with pytest.raises(ConfigError, match=r"one/config\.yaml: schema_version = 3"):
        read_reference(str(path))
