"""The modes of `sweep=modes` are one problem, and two sweeps in one folder keep their files."""

from types import SimpleNamespace

import pytest

from unfold.cli.sweeps.sweep import name_of
from unfold.config.compose import compose
from unfold.runs.catalogue import flat

MODES = ("plug_and_play", "unfolded", "untied", "equilibrium", "classical")


@pytest.fixture(scope="module")
def modes():
    found = {name: compose([f"experiment=mode_{name}", "algo=pgd"]) for name in MODES}
    assert not any(one.problems for one in found.values())
    return {name: one.jobs[0] for name, one in found.items()}


def test_the_modes_differ_in_the_model_and_not_in_the_step(modes):
    for group in ("algo", "prior", "fidelity", "physics", "data", "metrics"):
        kept = [job for name, job in modes.items() if (name, group) != ("classical", "prior")]
        assert len({job.choices.get(group) for job in kept}) == 1, group
    # A plug-and-play denoiser has its own level; networks and algorithms are of one kind.
    for key in ("algo._target_", "physics.noise.sigma", "data.batch_size", "seed"):
        assert len({str(flat(job.config).get(key)) for job in modes.values()}) == 1, key


def test_sweeps_of_other_commands_have_other_names():
    def jobs(*overrides):
        job = SimpleNamespace(folders=("",), overrides=overrides)
        return [SimpleNamespace(job=job)]

    assert name_of(jobs("seed=1")) == name_of(jobs("seed=1")) != name_of(jobs("seed=2"))
    assert name_of(jobs("seed=1")) != name_of(jobs("seed=1") * 2)
