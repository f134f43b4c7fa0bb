"""Every file in configs/ is a configuration that can be built."""

import importlib.util
import inspect
import itertools
from collections import defaultdict
from contextlib import nullcontext

import pytest

from tests.shipped import EXTRAS
from unfold.cli.sweeps.launch import take_launcher
from unfold.config import options
from unfold.config.build import build_group, verify
from unfold.config.check import check_job
from unfold.config.compose import compose
from unfold.config.options import configs_folder
from unfold.config.schema import GROUPS, PRESETS
from unfold.config.targets import resolve
from unfold.errors import ConfigError
from unfold.random import Draws

ALSO = {
    "data=folder": ["data.root=."],
    "experiment=crr_tstep_s25": ["data.root=."],
    "experiment=csf4_3x3_s25": ["data.root=."],
    "experiment=tnrd5_5x5_s25": ["data.root=."],
    "experiment=wcrr_bsd68": ["data.root=."],
    "trainable=ridge": ["architecture=wcrr_equilibrium"],
    "model=classical": ["prior=tikhonov"],
    "algo=analysis_admm": ["prior=tv"],
    "algo=analysis_hqs": ["prior=tv"],
    "algo=analysis_pdhg": ["prior=tv"],
    "algo=condat_vu": ["prior=tv"],
    "algo=davis_yin": ["prior=tv_box"],
    "algo=gd": ["prior=tikhonov"],
    "algo=gd_damped": ["prior=tikhonov"],
    "algo=heavy_ball": ["prior=tikhonov"],
    "algo=mirror_descent": ["prior=tikhonov"],
    "algo=osem": ["fidelity=poisson"],
    "algo=proximal_mirror_descent": ["prior=l1"],
    "algo=richardson_lucy": ["fidelity=poisson", "prior=tikhonov"],
    "fidelity=l1": ["algo=pdhg"],
    "fidelity=l2_ball": ["algo=pdhg"],
    "prior=red": ["algo=gd"],
    "prior=score": ["algo=gd"],
    "prior=tv_box": ["algo=pidal"],
    "stages=list": ["stages.stages=[{steps: 3}]"],
    "start=fitted_linear": ["physics=block_compressed_sensing"],
    "sweep": ["-m"],
    "sweep=optuna": ["optimizer.lr=1e-3"],  # an interval is for a search, not for a grid
    "sweep=random": ["optimizer.lr=1e-3"],
    "model/solver": ["model=deq"],
    "model/backward/solver": ["model=deq"],
    "model/backward=implicit": ["model=deq"],
    "model/backward=jacobian_free": ["model=deq"],
    "model/backward=neumann": ["model=deq"],
    "model/backward=phantom": ["model=deq"],
}
"""What some options need in addition."""

DEPENDENT = {
    "algo",
    "architecture",
    "data",
    "experiment",
    "fidelity",
    "model",
    "model/backward",
    "model/backward/solver",
    "model/solver",
    "prior",
    "stages",
    "start",
    "sweep",
    "trainable",
}
"""Groups whose options must fit those of others, and are tried one at a time."""


LAUNCHERS = "hydra/launcher"
"""They start jobs, and are no part of one."""

RANGES = "sweep/ranges"
"""Of searches, by the model; each search takes its own."""


def shipped() -> list[tuple[str, ...]]:
    """Every option at least once; options of independent groups share a command line."""
    folder = configs_folder()
    groups: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.glob("*/**/*.yaml")):
        group = str(path.parent.relative_to(folder))
        if group in (LAUNCHERS, RANGES):
            continue
        if importlib.util.find_spec(EXTRAS.get(path.stem, "unfold")) is not None:
            groups[group].append(f"{group}={path.stem}")
    alone = [(option,) for group in DEPENDENT & set(groups) for option in groups[group]]
    others = [options for group, options in groups.items() if group not in DEPENDENT]
    together = itertools.zip_longest(*others)
    return sorted([*alone, *(tuple(filter(None, arguments)) for arguments in together)])


@pytest.mark.parametrize("options", shipped(), ids=" ".join)
def test_options_can_be_built(options):
    more = [w for o in options for w in (*ALSO.get(o, []), *ALSO.get(o.partition("=")[0], []))]
    if not any(option.startswith("evaluation=") for option in options):
        more.append("evaluation=none")  # a third of the time goes into reading its operators
    assert verify(compose([*options, *more]))


def test_every_group_is_known():
    known = {*GROUPS, *PRESETS, "trainable", "hydra"}
    assert {path.name for path in configs_folder().iterdir() if path.is_dir()} == known


@pytest.mark.parametrize("path", sorted((configs_folder() / LAUNCHERS).glob("*.yaml")))
def test_launchers_can_be_built(path):
    arguments = [f"{LAUNCHERS}={path.stem}", "algo=pgd"]
    try:
        launcher, rest = take_launcher(arguments)
    except ConfigError as error:  # its package or its cluster is not here
        assert str(error).startswith(f"hydra/launcher = {path.stem}: ")
        assert "pip install -e '.[" in str(error) or "PATH" in str(error)
        return
    assert launcher is not None
    assert rest == ["algo=pgd"]


SIMULATED = set(options.names("physics/noise", [configs_folder()])) - {"measured"}


@pytest.mark.parametrize("noise", sorted(SIMULATED))
@pytest.mark.parametrize("experiment", ["denoiser", "nonexpansive"])
def test_a_denoiser_is_trained_on_any_noise(experiment, noise):
    composed = compose([f"experiment={experiment}", f"physics/noise={noise}"])
    assert not composed.problems
    checked, problems = check_job(composed.jobs[0], ["physics"])
    assert not problems
    (alone,) = compose([f"physics/noise={noise}"]).jobs
    assert composed.jobs[0].config["physics"]["noise"] == alone.config["physics"]["noise"]
    physics, draws = build_group(checked, "physics"), Draws(0, (0,))
    refused = pytest.raises(ConfigError, match="PerFamilyNoise is for a mixture")
    with refused if noise == "own" else nullcontext():
        physics.measure(draws.uniform("x", (1, 8, 8)), draws)


MRI = "unfold.physics.mri"


@pytest.mark.parametrize(
    "words",
    [
        ["physics=multicoil_mri", f"physics.mask._target_={MRI}.sampling.RandomColumns"],
        ["physics=mri", f"physics.mask={{_target_: {MRI}.sampling.PoissonDisc, slope: 1}}"],
        ["physics=spiral_mri",
         f"physics.trajectory._target_={MRI}.trajectories.UniformSpokes",
         "physics.trajectory.spokes=8"],
        ["physics=gaussian_blur", "physics.kernel._target_=unfold.physics.blur.kernels.DiskKernel",
         "physics.kernel.radius=2"],
    ],
)  # fmt: skip
def test_a_class_that_is_named_takes_what_it_knows_of_the_arguments_of_a_file(words):
    (job,) = compose(words).jobs
    assert not check_job(job, ["physics"])[1]
    part = job.config["physics"][words[1].split(".")[1].partition("=")[0]]
    known = inspect.signature(resolve(part["_target_"])).parameters
    assert set(part) - {"_target_"} <= set(known)
    typed = {"slope": 1, "spokes": 8, "radius": 2}
    assert all(part[key] == value for key, value in typed.items() if key in part)


def test_what_is_typed_for_a_class_that_does_not_take_it_is_refused():
    with pytest.raises(ConfigError, match=r"physics.mask.power = 2: unknown key"):
        verify(compose(["physics=multicoil_mri", "physics.mask.power=2",
                        f"physics.mask._target_={MRI}.sampling.RandomColumns"]))  # fmt: skip
