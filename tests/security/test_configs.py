"""Sixty configurations and stored runs of strangers: none of them executes anything.

Each would make the file MARK if a word of it were called. `{}` is the folder of the attack.
"""

import re

import pytest

from tests.config.folder import refusal
from tests.runs.made import make_run, sealed
from unfold.config.stored_run import stored_overrides
from unfold.errors import ConfigError
from unfold.runs.catalogue import read_reference
from unfold.runs.files import read_yaml, write_yaml

MARK = "executed"
TOUCH = "{{_target_: os.system, command: 'touch {}/executed'}}"


def option(text):
    """The words that choose an experiment file with this text."""
    return {"experiment/evil.yaml": "# @package _global_\n" + text}, "experiment=evil"


def target(name, **arguments):
    given = ", ".join(f"{key}: {value}" for key, value in arguments.items())
    return {}, f"prior={{{{_target_: {name}, {given}}}}}"


FILE = "'{}/executed'"
PROCESS = (
    "{{_target_: unfold.launchers.parallel.Process, arguments: ['-c', '1'], folder: '{}',"
    " share: {{PATH: '{}'}}}}"
)


PHYSICS = {
    "physics.forward": "unfold.physics.custom.functions.FunctionPhysics",
    "physics.operator": "unfold.physics.custom.deepinv.DeepinvPhysics",
}


def placed(key, node):
    """The override that puts a node in a place, in the component that has the place."""
    if key not in PHYSICS:
        return {}, f"{key}={node}"
    return {}, f"physics._target_={PHYSICS[key]}\n{key}={node}"


ATTACKS = {
    "os.system": target("os.system", command="'touch {}/executed'"),
    "an alias in another package": target("logging.os.system", command="'touch {}/executed'"),
    "an alias in torch": target("torch.os.system", command="'touch {}/executed'"),
    "an alias in unfold": target("unfold.runs.processes.os.mkdir", path=FILE),
    "subprocess": target("subprocess.check_call", args="[touch, '{}/executed']"),
    "builtins": target("builtins.open", file=FILE, mode="x"),
    "exec": target("builtins.exec", source="\"open('{}/executed', 'x')\""),
    "eval": target("builtins.eval", source="\"open('{}/executed', 'x')\""),
    "pathlib": target("pathlib.Path.touch", self=FILE),
    "runpy": target("runpy.run_path", path_name="'{}/evil.py'"),
    "timeit": target("timeit.timeit", stmt="\"open('{}/executed', 'x')\"", number=1),
    "profile": target("cProfile.run", statement="\"open('{}/executed', 'x')\""),
    "collect_env": target("torch.utils.collect_env.run", command="'touch {}/executed'"),
    "torch.load": target("torch.load", f="'{}/evil.pt'", weights_only="false"),
    "torch.hub": target("torch.hub.load", repo_or_dir="'{}'", model="evil", source="local"),
    "numpy.load": target("numpy.load", file="'{}/evil.npy'", allow_pickle="true"),
    "numpy.testing": target("numpy.testing.measure", code_str="\"open('{}/executed', 'x')\""),
    "what unfold imports": target("unfold.runs.files.write_text", path=FILE, text="x"),
    "a method": target("unfold.training.settings.CSV.build", directory="'{}'"),
    "partial": target("functools.partial", _args_="[os.system, 'touch {}/executed']"),
    "a module beside": target("evil.Evil"),
    "_args_": ({}, "prior={{_target_: os.system, _args_: ['touch {}/executed']}}"),
    "_partial_": ({}, f"prior={TOUCH[:-2]}, _partial_: true}}}}"),
    "deep in a list": ({}, f"optimizer.betas=[[{TOUCH}],1]"),
    "deep in a block": ({}, f"prior.denoiser={{{{a: {{{{b: {TOUCH}}}}}}}}}"),
    "a callback of Hydra": option(f"hydra:\n  callbacks:\n    evil: {TOUCH}\nseed: -1\n"),
    "the log of Hydra": option(
        "hydra:\n  job_logging:\n    handlers:\n      evil:\n        (): logging.FileHandler\n"
        "        filename: '{}/executed'\nseed: -1\n"
    ),
    "a sweeper": option(f"hydra:\n  sweeper: {TOUCH}\nseed: -1\n"),
    "a tag of YAML": option("seed: !!python/object/apply:os.system ['touch {}/executed']\n"),
    "trust in a file": option("trust: [evil]\nprior: {{_target_: evil.Evil}}\n"),
    "the process of a launcher": placed("physics.forward", PROCESS),
    "the same, where a class makes an operator": placed("physics.operator", PROCESS),
    "the same, partial": placed("physics.forward", f"{PROCESS[:-2]}, _partial_: true}}}}"),
    "the same, partial, for a denoiser": placed(
        "prior.denoiser", f"{PROCESS[:-2]}, _partial_: true}}}}"
    ),
    "the same, in a list of anything": placed("algo.stepsize", f"[{PROCESS}]"),
    "the same, as a metric": placed("metrics.extra", f"{{{{m: {PROCESS}}}}}"),
    "the same, as a group": placed("prior", PROCESS),
    "the worker of a launcher": placed(
        "metrics.extra",
        "{{m: {{_target_: unfold.launchers.worker.Worker, command: [touch, '{}/executed'],"
        " environment: {{}}, folder: '{}'}}}}",
    ),
    "a launcher": placed("loss", "{{_target_: unfold.launchers.parallel.Parallel, jobs: 1}}"),
    "a table that is opened": placed(
        "metrics.extra",
        "{{m: {{_target_: unfold.training.loggers.local.Curves, path: '{}/executed'}}}}",
    ),
    "event files": placed(
        "prior.denoiser",
        "{{_target_: unfold.training.loggers.local.Events, directory: '{}/executed'}}",
    ),
    "a partial class": placed(
        "physics.forward", "{{_target_: unfold.algorithms.pgd.PGD, _partial_: true}}"
    ),
    "a partial loss": placed("loss", "{{_target_: unfold.training.losses.MSE, _partial_: true}}"),
    "a class of another position": placed("prior", "{{_target_: unfold.algorithms.pgd.PGD}}"),
    "a tuple": placed("optimizer.betas", "{{_target_: unfold.parameters.bounds.Bound}}"),
    "a trainer's logger": placed(
        "logger", "{{_target_: lightning.pytorch.loggers.CSVLogger, save_dir: '{}/executed'}}"
    ),
    "_convert_": placed("prior", "{{_target_: evil.Evil, _convert_: all}}"),
    "_recursive_": placed("algo._recursive_", "false"),
    "_args_ of a component": placed("algo._args_", "[1]"),
    "a search path in a preset": option("hydra:\n  searchpath: ['pkg://evil']\nseed: -1\n"),
    "a default from a package": (
        {"experiment/evil.yaml": "defaults:\n  - pkg://evil/x\n"},
        "experiment=evil",
    ),
    "a searchpath by package": (
        {"experiment/evil.yaml": "searchpath: ['pkg://evil']\n"},
        "experiment@hydra=evil",
    ),
    "a resolver of OmegaConf": option("seed: ${{oc.create:evil.Evil}}\n"),
    "a sweeper by name": option("defaults:\n  - override /hydra/sweeper: evil\n"),
}


@pytest.mark.parametrize(("files", "words"), ATTACKS.values(), ids=ATTACKS.keys())
def test_nothing_is_executed(files, words, tmp_path, monkeypatch):
    code = f"open({str(tmp_path / MARK)!r}, 'x')\n"
    (tmp_path / "evil.py").write_text(f"{code}class Evil: pass\n")
    (tmp_path / "hubconf.py").write_text(f"def evil(): {code}")
    monkeypatch.syspath_prepend(str(tmp_path))
    started = []
    monkeypatch.setattr("subprocess.Popen.__init__", lambda *a, **k: started.append(a))
    for name, text in files.items():
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_text(text.format(tmp_path))
    folder = [f"--config-dir={tmp_path}/own"] if files else []
    assert refusal(*folder, *words.format(tmp_path, tmp_path).splitlines()) != "accepted"
    assert not started
    assert not (tmp_path / MARK).exists()


STORED = [
    "hydra.searchpath=[pkg://evil]",
    "++hydra.searchpath=[pkg://evil]",
    "hydra={searchpath: [pkg://evil]}",
    "hydra/sweeper=evil",
    "experiment@hydra.callbacks=evil",
    "--config-dir=/tmp",
]


@pytest.mark.parametrize("text", STORED)
def test_a_stored_run_steers_nothing(text, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / MARK)!r}, 'x')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = make_run(tmp_path / "runs", "a/b")
    write_yaml(path / "overrides.yaml", [text])
    with pytest.raises(ConfigError, match=r"overrides\.yaml has"):
        stored_overrides(read_reference(str(sealed(path))), [])
    assert not (tmp_path / MARK).exists()


def test_a_stored_configuration_has_no_settings_of_hydra(tmp_path):
    path = make_run(tmp_path / "runs", "a/b")
    config = read_yaml(path / "config.yaml")
    write_yaml(path / "config.yaml", config | {"hydra": {"callbacks": {}}})
    with pytest.raises(ConfigError, match=r"config\.yaml has the key hydra, which no run has"):
        stored_overrides(read_reference(str(sealed(path))), [])


@pytest.mark.parametrize("place", PHYSICS)
@pytest.mark.parametrize("more", ["", ", _partial_: true"])
def test_a_place_for_a_callable_admits_no_class_of_unfold(place, more, tmp_path):
    _, words = placed(place, f"{PROCESS[:-2]}{more}}}}}")
    text = refusal(*words.format(tmp_path, tmp_path).splitlines())
    assert re.search(rf"{place}(\._partial_)? = (Process|true)", text), text


def test_there_are_sixty():
    assert len(ATTACKS) + len(STORED) == 60
