import copy

import pytest

from tests.runs.made import make_run, sealed
from unfold.errors import ConfigError
from unfold.runs.identity import (
    LEFT_OUT,
    differing,
    directory_for,
    identity,
    slug,
    source_hashes,
)

CONFIG = {
    "algo": {"_target_": "unfold.algorithms.pgd.PGD", "stepsize": 1.0},
    "data": {"root": "/here", "workers": 0, "crop": 64},
    "logger": {"_target_": "unfold.training.settings.CSV"},
    "name": None,
    "prior": {"weights": None},
    "rerun": False,
    "runs_dir": "runs",
    "seed": 0,
    "strict": False,
    "trainer": {"max_steps": 10, "progress": True, "log_every": 10},
    "trust": [],
}
CHOICES = {"algo": "pgd", "prior": "dncnn", "physics": "motion_blur", "model": "unfolded"}


def changed(key: str, value: object) -> dict:
    config = copy.deepcopy(CONFIG)
    *parents, leaf = key.split(".")
    node = config
    for parent in parents:
        node = node[parent]
    node[leaf] = value
    return config


def test_the_hash_is_the_same_on_every_machine_and_for_every_order():
    assert identity(CONFIG, "abc") == "o1167cc8"
    assert identity(dict(reversed(CONFIG.items())), "abc") == identity(CONFIG, "abc")


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", 1), ("algo.stepsize", 1), ("trainer.max_steps", 11), ("data.crop", 32), ("x", None)],
)
def test_a_key_that_can_change_a_number_changes_the_hash(key, value):
    if key == "algo.stepsize":
        value = 0.9
    assert identity(changed(key, value), "abc") != identity(CONFIG, "abc")


@pytest.mark.parametrize("key", sorted(LEFT_OUT - {"schema_version"}))
def test_a_key_that_cannot_change_a_number_does_not(key):
    assert identity(changed(key, "else"), "abc") == identity(CONFIG, "abc")


def test_other_images_are_another_run():
    assert identity(CONFIG, "abc") != identity(CONFIG, "abd")


def test_a_file_counts_by_its_content_not_its_date(tmp_path):
    weights = tmp_path / "w.safetensors"
    config = changed("prior.weights", str(weights))
    missing = identity(config, "abc")
    weights.write_bytes(b"1")
    one = identity(config, "abc")
    weights.write_bytes(b"2")
    two = identity(config, "abc")
    weights.write_bytes(b"1")
    assert len({missing, one, two}) == 3
    assert identity(config, "abc") == one


@pytest.mark.parametrize("key", ["init_from", "prior.weights", "prior.terms"])
def test_a_run_counts_by_its_weights_under_each_of_its_names(tmp_path, key):
    path = make_run(tmp_path / "runs", "pgd-tv/g1234567")

    def named(text):
        value = [{"weights": text}] if key == "prior.terms" else text
        return identity({**changed(key, value), "runs_dir": str(tmp_path / "runs")}, "abc")

    texts = ("pgd-tv/g1234567", "g1234567", str(path), str(path / "weights.safetensors"))
    found = []
    for content in (b"1", b"2", b"1"):
        (path / "weights.safetensors").write_bytes(content)
        sealed(path)
        (one,) = {named(text) for text in texts}
        found.append(one)
    assert found[0] == found[2] != found[1]
    assert named("g0") != named("g1"), "what is not there counts by its name"


def test_the_slug_reads_like_the_command():
    assert slug(CHOICES, None) == "pgd-dncnn-motion_blur"
    assert slug(CHOICES | {"model": "deq"}, "try.1") == "pgd-dncnn-motion_blur-deq-try.1"


@pytest.mark.parametrize("name", ["../../evil", "/etc", "a/b", "..", "a\0b", "~", "\n"])
def test_a_name_stays_inside_the_folder_of_runs(name, tmp_path):
    config = {**CONFIG, "name": name, "runs_dir": str(tmp_path / "runs")}
    found = directory_for(config, CHOICES, "abc")
    assert found.resolve().parent.parent == (tmp_path / "runs").resolve()
    evil = directory_for(config, {**CHOICES, "algo": "../../../x"}, "abc")
    assert evil.resolve().parent.parent == (tmp_path / "runs").resolve()


def test_a_link_that_leads_out_is_refused(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/pgd-dncnn-motion_blur").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="leads out of"):
        directory_for({**CONFIG, "runs_dir": str(tmp_path / "runs")}, CHOICES, "abc")


def test_linked_folders_of_a_trusted_package_are_compared_once_and_bounded(tmp_path, monkeypatch):
    package, other = tmp_path / "linked_package", tmp_path / "other"
    package.mkdir()
    other.mkdir()
    (package / "__init__.py").touch()
    (other / "code.py").write_text("a = 1\n")
    (package / "inner").symlink_to(other)
    (other / "back").symlink_to(package)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = source_hashes(["linked_package"])
    assert {name for name in before if "linked" in name} == {
        "linked_package/__init__.py",
        "linked_package/inner/code.py",
    }
    (other / "code.py").write_text("a = 2\n")
    assert differing(before, ["linked_package"]) == ["linked_package/inner/code.py"]
    with (other / "sparse").open("wb") as file:
        file.truncate(30 * 2**30)
    with pytest.raises(ConfigError, match="Move data out of it"):
        source_hashes(["linked_package"])
