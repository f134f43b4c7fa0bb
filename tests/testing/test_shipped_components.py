"""The kit on every option of configs/: a new file is checked by existing."""

import warnings

import pytest
import torch

from tests.device.checks import operators, physics_names
from tests.shipped import files
from unfold.config.build import configure
from unfold.errors import ConfigError, ShapeError
from unfold.fidelities.amplitude import Amplitude
from unfold.models.deq import DEQ
from unfold.models.unfolded import Unfolded
from unfold.random import Draws
from unfold.testing import (
    check_algorithm,
    check_equilibrium,
    check_fidelity,
    check_physics,
    check_prior,
)
from unfold.testing.algorithms import problem_for
from unfold.testing.models import check_unfolded
from unfold.testing.priors import in_double
from unfold.testing.training import check_loss, check_start

FIXED = ["trainer.progress=false", "evaluation=none"]
STARTS = {
    "fitted_linear": "block_compressed_sensing",
    "spectral": "phase_retrieval",
    "filtered_back_projection": "tomography",
}
"""The forward models that an initialization is made for; blur for the others."""

NESTED = {
    "unfolded": [("full",), ("checkpoint",), ("truncated",)],
    "deq": [
        *((backward, "anderson") for backward in ("implicit", "jacobian_free", "phantom")),
        *(("implicit", solver) for solver in ("broyden", "picard", "nesterov")),
        ("neumann", "anderson"),
    ],
}
APPROXIMATE = {"jacobian_free", "phantom", "neumann"}
"""Gradients that are approximations by definition: DQ2 measures how exact one is."""


def build(*overrides: str):
    given = {override.partition("=")[0] for override in overrides}
    physics = [] if "physics" in given else ["physics=gaussian_blur", "physics.kernel.size=5"]
    return configure([*FIXED, *physics, *overrides]).components


def component(group: str, name: str):
    return getattr(build(f"{group}={name}"), group)


# Their weights are of the matrix of one operator: `test_architectures.py` has them.
MATRICES = {"analytic_ista", "coupled_ista", "lista"}


@pytest.mark.parametrize("name", sorted({*files("algo")} - MATRICES))
def test_every_algorithm(name):
    algorithm, problem = problem_for(build(f"algo={name}", *_fitting(name)).algo)
    found = check_algorithm(algorithm, problem)
    assert found.subject.startswith(f"{type(algorithm).__name__} with ")
    found.raise_if_failed()


def _fitting(name: str) -> list[str]:
    """The prior and fidelity with which an algorithm composes on the command line."""
    needs = {
        "condat_vu": "tv",
        "analysis_pdhg": "tv",
        "analysis_hqs": "tv",
        "analysis_admm": "tv",
        "davis_yin": "tv_box",
        "pidal": "tv_box",
        "gd": "tikhonov",
        "gd_damped": "tikhonov",
        "heavy_ball": "tikhonov",
        "mirror_descent": "tikhonov",
        "proximal_mirror_descent": "l1",
    }
    counts = name in ("richardson_lucy", "osem")
    prior = "tikhonov" if counts else needs.get(name, "l1")
    small = ["algo.refine.width=2"] if name == "e2e_varnet" else []
    return [f"prior={prior}", *(["fidelity=poisson"] if counts else []), *small]


@pytest.mark.parametrize("name", files("prior"))
def test_every_prior(name):
    own = {"red": "gd", "score": "gd", "tv_box": "davis_yin"}
    algo = "pgd" if name.startswith("ista_net") else own.get(name, "admm")
    level = ["prior.level=0.02"] if name == "wcrr" else []
    prior = in_double(build(f"algo={algo}", f"prior={name}", *level).prior)
    check_prior(prior, gap=getattr(prior, "tol", 1e-4 if "tv" in name else 0.0)).raise_if_failed()


@pytest.mark.parametrize("name", files("fidelity"))
def test_every_fidelity(name):
    algo = "gd" if name == "amplitude" else "pdhg"
    made = build(f"algo={algo}", "prior=tikhonov", f"fidelity={name}")
    check_fidelity(made.fidelity).raise_if_failed()


@pytest.mark.parametrize("name", physics_names())
def test_every_physics(name):
    """On one small shape, without the rows of large samples; `unfold check` has them all."""
    physics = build(*operators(name)).physics
    rows = ("PH1", "PH3", "PH4", "PH5", "PH6", "PH8", "PH9", "PH11", "PH14", "PH15")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a pseudo-inverse that does not converge is not judged
        check_physics(physics, [_smallest(physics)], rows).raise_if_failed()


def _smallest(physics):
    for shape in (
        (1, 16, 16),
        (3, 16, 16),
        (1, 24, 24),
        (1, 32, 32),
        (1, 33, 33),
        (1, 64, 64),
        (3, 24, 24),
    ):
        try:
            physics.sample(Draws(seed=1, images=range(1), dtype=torch.float64), shape)
        except (ShapeError, ConfigError):
            continue
        return shape
    raise AssertionError("no legal shape")


def net(*overrides: str):
    made = build("algo=pgd", "prior=tikhonov", "data.crop=16", *overrides)
    draws = Draws(seed=1, images=range(1), dtype=torch.float64)
    y, operator = made.physics.measure(draws.uniform("image", (1, 7, 7)), draws)
    return made.reconstructor.double(), y, operator


@pytest.mark.parametrize("backward", [one for (one,) in NESTED["unfolded"]])
def test_every_unfolded_network(backward):
    made, y, operator = net("model=unfolded", f"model/backward={backward}")
    assert isinstance(made.model, Unfolded)
    found = check_unfolded(made, y, operator)
    (found.only(["UN1", "UN4"]) if backward == "truncated" else found).raise_if_failed()


@pytest.mark.parametrize(("backward", "solver"), NESTED["deq"])
def test_every_equilibrium(backward, solver):
    made, y, operator = net("model=deq", f"model/backward={backward}", f"model/solver={solver}")
    assert isinstance(made.model, DEQ)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an unreached equilibrium is what DQ2 asks for
        found = check_equilibrium(made, y, operator)
    if backward in APPROXIMATE:
        found = found.only(["DQ0", "DQ1", "DQ5"])
    found.raise_if_failed()


def test_all_models_are_here():
    assert {*NESTED, "classical"} == set(files("model"))
    used = {one for rows in NESTED.values() for row in rows for one in row}
    assert used == {*files("model/backward"), *files("model/solver")}


@pytest.mark.parametrize("name", files("start"))
def test_every_start(name):
    own = [f"physics={STARTS[name]}"] if name in STARTS else []
    made = build("algo=gd", "prior=tikhonov", f"start={name}", *own).start
    physics = component("physics", STARTS.get(name, "gaussian_blur"))
    check_start(made, physics, Amplitude() if name == "spectral" else None).raise_if_failed()


@pytest.mark.parametrize("name", files("loss"))
def test_every_loss(name):
    made = build(f"loss={name}")
    found = check_loss(made.loss, made.physics)
    # Splitting averages over all held-out entries of the batch; images have unequally many.
    (found.only(["LO1", "LO2"]) if name == "splitting" else found).raise_if_failed()
