"""What `unfold.build` gives a notebook, and that a command builds every component once."""

import dataclasses
from collections import Counter

import pytest
import torch

from unfold.cli.job import prepare
from unfold.config import build as build_module
from unfold.config.build import build as build_components
from unfold.config.build import components_of, verify
from unfold.config.compose import compose
from unfold.config.experiment import Experiment, build
from unfold.errors import ConfigError
from unfold.random import Draws

SMALL = ("model.iterations=2", "data.crop=16")


def test_an_experiment_is_called_like_its_reconstructor():
    experiment = build("algo=admm", "prior=dncnn", *SMALL)
    assert isinstance(experiment, Experiment) and experiment.scores == {}
    assert experiment.config["algo"]["_target_"] == "unfold.algorithms.admm.ADMM"
    x = torch.rand(1, 1, 16, 16)
    y, operator = experiment.physics.measure(x, Draws(0, (0,)))
    image = experiment(y, operator)
    assert torch.equal(image, experiment.reconstructor(y, operator))
    with pytest.raises(dataclasses.FrozenInstanceError):
        experiment.scores = {"psnr": 1.0}


def test_the_weights_are_those_of_the_command():
    (checked,) = verify(compose(["prior.denoiser.depth=3", *SMALL]))
    command, again = components_of(checked).reconstructor, build_components(checked).reconstructor
    notebook = build("prior.denoiser.depth=3", *SMALL).reconstructor
    assert command is not again
    for one, two, three in zip(
        command.parameters(), again.parameters(), notebook.parameters(), strict=True
    ):
        assert torch.equal(one, two) and torch.equal(one, three)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("algo=pgdd",), "algo = pgdd: no such option, did you mean 'pgd'"),
        (("algo.stepsize=-1", "seed=-1"), "2 problems in the configuration"),
        (("-m", "seed=0,1"), "unfold build takes one configuration, got 2"),
    ],
)
def test_mistakes_are_those_of_the_command(overrides, message):
    with pytest.raises(ConfigError, match=message):
        build(*overrides)


def test_a_single_job_builds_each_component_once(monkeypatch):
    built = Counter()
    instantiate = build_module.instantiate

    def counted(plan):
        built[plan.path] += 1
        return instantiate(plan)

    monkeypatch.setattr(build_module, "instantiate", counted)
    (checked,) = verify(compose(["algo.stepsize=0.9", *SMALL]))
    components = prepare(checked)
    assert components is checked.components
    assert set(built) == set(checked.groups) and set(built.values()) == {1}


def test_the_jobs_of_a_sweep_keep_no_components():
    jobs = verify(compose(["-m", "seed=0,1", *SMALL]))
    assert [job.components for job in jobs] == [None, None]
    assert components_of(jobs[1]).reconstructor is not components_of(jobs[1]).reconstructor
