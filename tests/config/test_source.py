"""Arguments of components read from their source, so that a typo is refused without imports."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from unfold.config.build import verify
from unfold.config.compose import compose
from unfold.config.options import configs_folder
from unfold.config.source import declared
from unfold.config.targets import resolve
from unfold.config.values import parameters
from unfold.errors import ConfigError

ROOT = Path(__file__).parents[2]

TARGETS = sorted(
    {
        node["_target_"]
        for path in configs_folder().rglob("*.yaml")
        if "_target_" in (node := yaml.safe_load(path.read_text()) or {})
        and node["_target_"].startswith("unfold.")
    }
)

PROGRAM = """
import sys
from unfold.cli.console import guarded
from unfold.cli.train import train
code = guarded(train, sys.argv[1:])
assert not {"torch", "lightning"} & {*sys.modules}
sys.exit(code)
"""


def test_the_source_has_the_arguments_of_the_class():
    read = {target: declared(target) for target in TARGETS}
    assert sum(found is not None for found in read.values()) > 0.7 * len(TARGETS)
    for target, found in read.items():
        if found is not None:
            assert found == list(parameters(resolve(target))), target


@pytest.mark.parametrize("target", ["torch.optim.Adam", "unfold.algorithms.pgd.PGDD", "pgd", ""])
def test_what_is_no_dataclass_of_unfold_is_not_read(target):
    assert declared(target) is None


@pytest.mark.parametrize("overrides", [["algo.stepsiz=1"], ["-m", "seed=0,1", "algo.stepsiz=1"]])
def test_a_typo_is_refused_without_importing_torch(tmp_path, overrides):
    line = [sys.executable, "-c", PROGRAM, *overrides]
    done = subprocess.run(
        line,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    expected = "error: algo.stepsiz = 1: unknown key, did you mean 'stepsize'? Allowed: lambda_reg"
    assert done.returncode == 2 and done.stderr.startswith(expected), done.stderr


@pytest.mark.parametrize(
    ("overrides", "count"),
    [
        (["algo.stepsiz=1", "seed=-1"], 2),
        (["algo.stepsiz=1", "prior.sigma=-1"], 2),
        (["algo.stepsiz=1", "algo.stepsize=x"], 2),
        (["algo.stepsiz=1", "prior=dncn"], 2),
        (["algo.stepsiz=1", "prior.weigths=1", "trainer.max_step=1", "seed=x"], 4),
        (["-m", "algo.stepsiz=1,2", "prior.sigma=-1"], 3),
    ],
)
def test_a_typo_hides_no_other_mistake(overrides, count):
    with pytest.raises(ConfigError, match=f"^{count} problems in the configuration"):
        verify(compose(overrides))
