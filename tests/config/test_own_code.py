"""Code of the user: where a trusted name is loaded from, and messages about such a component."""

import sys

import pytest

from tests.config.folder import checked, refusal
from unfold.cli.console import guarded
from unfold.cli.sweeps.launch import take_launcher
from unfold.config.targets import admit
from unfold.errors import ConfigError
from unfold.runs.identity import source_hashes

MINE = """
from dataclasses import dataclass
from unfold.fidelities.l2 import L2

@dataclass(frozen=True)
class Mine(L2):
    pass
"""
COMPONENTS = """
from dataclasses import dataclass
from typing import Any
from unfold.algorithms.algorithm import Algorithm
from unfold.fidelities.fidelity import Fidelity
from unfold.physics.base import Physics
from unfold.priors.prior import Prior
from unfold.training.losses import Loss

@dataclass(frozen=True)
class Nothing(Prior):
    pass

@dataclass(frozen=True)
class Silent(Prior):
    def prox(self, v, weight):
        return v

@dataclass(frozen=True)
class Promises(Prior):
    provides = frozenset({"prox"})

class Stranger:
    pass

@dataclass(frozen=True)
class Steps(Algorithm[Any]):
    pass

@dataclass(frozen=True)
class Model(Physics):
    pass

@dataclass(frozen=True)
class Distance(Fidelity):
    pass

class Objective(Loss):
    pass
"""


@pytest.fixture
def forget():
    """Forgets the packages of a test, by name."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("minehere", "minehelper"):
            del sys.modules[name]


def place(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "target"),
    [
        ({"minehere/__init__.py": "", "minehere/f.py": MINE}, "minehere.f.Mine"),
        ({"minehere/f.py": MINE}, "minehere.f.Mine"),
        ({"minehere/inner/f.py": MINE}, "minehere.inner.f.Mine"),
        ({"minehere.py": MINE}, "minehere.Mine"),
    ],
)
def test_a_trusted_name_is_loaded_from_the_current_folder(tmp_path, forget, files, target):
    place(tmp_path, {**files, "neighbour.py": "raise SystemExit('executed')"})
    paths = list(sys.path)
    text = refusal(f"fidelity._target_={target}")
    assert "add trust=[minehere]" in text
    (job,) = checked(f"fidelity._target_={target}", "trust=[minehere]")
    assert job.groups["fidelity"].target.__name__ == "Mine"
    assert sys.path == paths
    hashes = source_hashes(["minehere"])
    assert any("minehere" in label for label in hashes), "its code is part of the identity of a run"


def test_what_is_next_to_a_trusted_package_is_not_imported(tmp_path, forget):
    place(tmp_path, {"minehere.py": f"import minehelper\n{MINE}", "minehelper.py": "X = 1\n"})
    text = refusal("fidelity._target_=minehere.Mine", "trust=[minehere]")
    assert "needs the package 'minehelper'" in text
    assert "trust=[minehere,minehelper]" in text
    (job,) = checked("fidelity._target_=minehere.Mine", "trust=[minehere,minehelper]")
    assert job.groups["fidelity"].target.__name__ == "Mine"


def test_a_name_in_two_places_is_refused_with_both(tmp_path, monkeypatch, forget):
    installed = tmp_path / "site"
    place(installed, {"minehere/__init__.py": "", "minehere/f.py": MINE})
    monkeypatch.syspath_prepend(str(installed))
    checked("fidelity._target_=minehere.f.Mine", "trust=[minehere]")
    place(tmp_path, {"minehere.py": "raise SystemExit('executed')"})
    text = refusal("fidelity._target_=minehere.f.Mine", "trust=[minehere]")
    assert "trust = [minehere]" in text
    assert str(tmp_path / "minehere.py") in text
    assert str(installed / "minehere") in text


def test_a_name_of_the_standard_library_is_refused_with_both_places(tmp_path):
    place(tmp_path, {"json.py": "raise SystemExit('executed')"})
    text = refusal("fidelity._target_=json.Mine", "trust=[json]")
    assert str(tmp_path / "json.py") in text
    assert "json/__init__.py" in text


def test_a_package_that_is_installed_from_here_is_no_conflict(tmp_path, monkeypatch, forget):
    place(tmp_path, {"minehere/f.py": MINE})
    monkeypatch.syspath_prepend(str(tmp_path))
    (job,) = checked("fidelity._target_=minehere.f.Mine", "trust=[minehere]")
    assert job.groups["fidelity"].target.__name__ == "Mine"


def test_the_package_of_another_folder_is_not_taken_for_this_one(tmp_path, monkeypatch, forget):
    for name in ("a", "b"):
        place(tmp_path / name, {"minehere/f.py": MINE})
    monkeypatch.chdir(tmp_path / "a")
    checked("fidelity._target_=minehere.f.Mine", "trust=[minehere]")
    monkeypatch.chdir(tmp_path / "b")
    text = refusal("fidelity._target_=minehere.f.Mine", "trust=[minehere]")
    assert str(tmp_path / "a/minehere") in text
    assert str(tmp_path / "b/minehere") in text


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("prior._target_=minehere.Nothing", "Prior: define prox(v, weight)"),
        ("prior._target_=minehere.Silent", "prox(v, weight), and name it in `provides`"),
        ("prior._target_=minehere.Promises", "Prior: define prox(v, weight)"),
        ("prior._target_=minehere.Stranger", "Prior: define prox(v, weight) or grad(x)"),
        (
            "algo._target_=minehere.Steps",
            "Algorithm: define guarantee(problem), init(problem), step(state, problem)",
        ),
        ("algo._target_=minehere.Stranger", "Algorithm: define guarantee(problem), init(problem)"),
        ("physics._target_=minehere.Model", "Physics: define sample(draws, shape)"),
        ("physics._target_=minehere.Stranger", "Physics: define sample(draws, shape)"),
        ("fidelity._target_=minehere.Distance", "Fidelity: define value(v, y)"),
        ("loss._target_=minehere.Objective", "Loss: define"),
        ("loss._target_=minehere.Stranger", "Loss: define"),
        ("metrics.extra={m: {_target_: minehere.Stranger}}", "(Module) (Module"),
    ],
)
def test_what_a_component_of_the_user_lacks_is_named(tmp_path, forget, override, said):
    place(tmp_path, {"minehere.py": COMPONENTS})
    text = refusal(override, "trust=[minehere]")
    assert said in text
    assert "Can't instantiate" not in text


def test_a_launcher_of_the_user_needs_trust_too(tmp_path, forget):
    launcher = (
        "from dataclasses import dataclass\nfrom unfold.launchers.launcher import Launcher\n\n\n"
        "@dataclass(frozen=True)\nclass Nice(Launcher):\n    jobs: int = 1\n\n"
        "    def start(self, arguments, folder, slot):\n        raise NotImplementedError\n"
    )
    option = "_target_: minehere.Nice\njobs: 3\n"
    place(tmp_path, {"minehere.py": launcher, "configs/hydra/launcher/nice.yaml": option})
    arguments = ["-m", f"--config-dir={tmp_path}/configs", "seed=0,1", "hydra/launcher=nice"]
    with pytest.raises(ConfigError, match=r"add trust=\[minehere\]"):
        take_launcher(arguments)
    found, rest = take_launcher([*arguments, "trust=[minehere]"])
    assert (type(found).__name__, found.jobs) == ("Nice", 3)
    assert rest == [*arguments[:-1], "trust=[minehere]"]


def test_an_error_in_code_of_the_user_names_its_place(tmp_path, forget, capsys):
    place(tmp_path, {"minehere.py": "class Mine:\n    def prox(self):\n        return 1 + None\n"})
    admit(["minehere"])

    def command(arguments):
        import minehere

        return minehere.Mine().prox()

    assert guarded(command, []) == 1
    said = capsys.readouterr().err
    assert "TypeError: unsupported operand" in said
    assert f"It is in Mine.prox of yours: {tmp_path}/minehere.py, line 3." in said.replace(
        "\n", " "
    )
