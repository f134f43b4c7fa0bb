"""A `_target_` of a stranger runs no code."""

import sys

import pytest

import unfold
from tests.config.folder import checked, refusal
from unfold.config.targets import THIRD_PARTY, resolve
from unfold.errors import ConfigError

ATTACKS = [
    "builtins.open",
    "builtins.eval",
    "os.system",
    "subprocess.Popen",
    "torch.load",
    "torch.hub.load",
    "torch.nn.modules.module.warnings.sys.exit",
    "torch.utils.collect_env.run",
    "torch.optim.adam.torch.load",
    "torch.optim.Optimizer",
    "numpy.load",
    "numpy.testing.measure",
    "shutil.copyfile",
    "sympy.sympify",
    "importlib.import_module",
    "antigravity",
    "unfold",
    "unfold.cli.main.main",
    "unfold.cli.train.guarded",
    "unfold.runs.files.write_text",
    "unfold.runs.processes.Lock",
    "unfold.runs.directory.files.write_text",
    "unfold.config.targets.resolve",
    "unfold.training.settings.Path",
    "unfold.training.optim.torch.load",
    "unfold.training.optim.TorchOptimizer",
    "unfold.algorithms.algorithm.dataclass",
    "unfold.training.settings._refuse",
    "unfold.training.settings.TrainerSettings.build",
    "unfold.training.settings.__builtins__.open",
    "unfold.training.settings.CSV.__init__",
    "unfold..training.settings.CSV",
    ".os.system",
    "",
    "unfold.training.settings.CSV\n",
]


@pytest.mark.parametrize("target", ATTACKS)
def test_what_is_no_component_is_refused(target):
    with pytest.raises(ConfigError):
        resolve(target)


def test_an_attack_in_a_configuration_is_refused_before_anything_is_called(tmp_path):
    text = refusal(f"prior={{_target_: builtins.open, file: {tmp_path}/evil, mode: w}}")
    assert "prior" in text
    assert text != "accepted"
    text = refusal("prior._target_=builtins.open", f"+prior.file={tmp_path}/evil", "+prior.mode=w")
    assert "prior._target_ = builtins.open: is not a component of unfold" in text
    assert not (tmp_path / "evil").exists()


def test_a_nested_target_is_seen_wherever_it_stands():
    node = "{_target_: os.system, command: id}"
    for place in ("algo.stepsize", "prior.sigma", "prior.denoiser", "seed", "name"):
        assert f"{place}._target_ = os.system" in refusal(f"{place}={node}"), place
    assert "optimizer.betas[0]._target_ = os.system" in refusal(f"optimizer.betas=[{node},1]")


def test_a_module_in_the_working_directory_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text("raise SystemExit('executed')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "add trust=[stranger]" in refusal("algo._target_=stranger.Evil")
    assert "stranger" not in sys.modules


def make_package(folder, monkeypatch):
    (folder / "minepkg.py").write_text(
        "import os\nfrom os import system\nfrom unfold.fidelities.l2 import L2\n"
        "from dataclasses import dataclass\n\n\n@dataclass(frozen=True)\n"
        "class Mine(L2):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(folder))


def test_a_package_is_trusted_on_the_command_line(tmp_path, monkeypatch):
    make_package(tmp_path, monkeypatch)
    arguments = ["fidelity._target_=minepkg.Mine"]
    assert "add trust=[minepkg]" in refusal(*arguments)
    (job,) = checked(*arguments, "trust=[minepkg]")
    assert job.groups["fidelity"].target.__name__ == "Mine"


def test_trust_reaches_no_further_than_the_package(tmp_path, monkeypatch):
    make_package(tmp_path, monkeypatch)
    for target in ("minepkg.system", "minepkg.os.system"):
        with pytest.raises(ConfigError):
            resolve(target, ["minepkg"])


def test_trust_in_a_file_is_refused(tmp_path, monkeypatch):
    make_package(tmp_path, monkeypatch)
    (tmp_path / "own/experiment").mkdir(parents=True)
    (tmp_path / "own/experiment/mine.yaml").write_text(
        "# @package _global_\ntrust: [minepkg]\nfidelity: {_target_: minepkg.Mine}\n"
    )
    text = refusal(f"--config-dir={tmp_path}/own", "experiment=mine")
    assert "trust = [minepkg]: counts on the command line only" in text
    assert "add trust=[minepkg]" in text


def test_hydra_callbacks_of_a_file_are_never_run(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text(
        "# @package _global_\nhydra:\n  callbacks:\n    evil:\n      _target_: builtins.open\n"
        f"      file: {tmp_path}/evil\n      mode: w\n"
    )
    with pytest.raises(ConfigError, match=r"hydra\.callbacks\.evil\._target_ = builtins"):
        checked(f"--config-dir={tmp_path}", "experiment=mine")
    assert not (tmp_path / "evil").exists()


def test_trust_must_be_a_list_of_names():
    assert "trust=[os.path]: a list of package names is expected" in refusal("trust=[os.path]")


@pytest.mark.parametrize("target", sorted(t for t in THIRD_PARTY if t.startswith("torch.")))
def test_every_class_on_the_list_exists(target):
    assert isinstance(resolve(target), type)


@pytest.mark.parametrize("name", ["PnP", "HQS", "Blur"])
def test_a_public_name_is_refused_with_the_path_of_its_class(name):
    with pytest.raises(ConfigError, match="Write unfold") as refused:
        resolve(f"unfold.{name}")
    assert resolve(str(refused.value).rpartition("Write ")[2].rstrip(".")) is getattr(unfold, name)
