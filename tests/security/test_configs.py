"""Thirty configurations of strangers: none of them executes anything.

Each would make the file MARK if a word of it were called. `{}` is the folder of the attack.
"""

import pytest

from tests.config.folder import refusal

MARK = "executed"
TOUCH = "{{_target_: os.system, command: 'touch {}/executed'}}"


def option(text):
    """The words that choose an experiment file with this text."""
    return {"experiment/evil.yaml": "# @package _global_\n" + text}, "experiment=evil"


def target(name, **arguments):
    given = ", ".join(f"{key}: {value}" for key, value in arguments.items())
    return {}, f"prior={{{{_target_: {name}, {given}}}}}"


FILE = "'{}/executed'"
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
}


@pytest.mark.parametrize(("files", "words"), ATTACKS.values(), ids=ATTACKS.keys())
def test_nothing_is_executed(files, words, tmp_path, monkeypatch):
    code = f"open({str(tmp_path / MARK)!r}, 'x')\n"
    (tmp_path / "evil.py").write_text(f"{code}class Evil: pass\n")
    (tmp_path / "hubconf.py").write_text(f"def evil(): {code}")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in files.items():
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_text(text.format(tmp_path))
    folder = [f"--config-dir={tmp_path}/own"] if files else []
    assert refusal(*folder, words.format(tmp_path)) != "accepted"
    assert not (tmp_path / MARK).exists()


def test_there_are_thirty():
    assert len(ATTACKS) == 30
