"""The seed vocabulary, for people who come from it: builders that make a Reconstructor."""

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from unfold.algorithms.admm import ADMM
from unfold.algorithms.algorithm import Algorithm
from unfold.algorithms.drs import DRS
from unfold.algorithms.fista import FISTA
from unfold.algorithms.gd import GD
from unfold.algorithms.hqs import HQS
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.errors import ConfigError, listing, nearest
from unfold.fidelities.fidelity import Fidelity
from unfold.fidelities.l2 import L2
from unfold.models.deq import DEQ
from unfold.models.model import Model
from unfold.models.unfolded import Unfolded
from unfold.priors.prior import Prior
from unfold.reconstructor import Reconstructor

ITERATIONS: Mapping[str, type[Algorithm[Any]]] = {
    "GD": GD,
    "PGD": PGD,
    "FISTA": FISTA,
    "HQS": HQS,
    "ADMM": ADMM,
    "DRS": DRS,
    "PDHG": PDHG,
}
# The names of the vocabulary beside ours. `stepsize` is absolute there, as it is here.
NAMES: Mapping[str, tuple[str, str]] = {
    "stepsize": ("algo", "stepsize"),
    "stepsize_dual": ("algo", "stepsize_dual"),
    "lambda": ("algo", "lambda_reg"),
    "lambda_reg": ("algo", "lambda_reg"),
    "beta": ("algo", "beta"),
    "momentum": ("algo", "momentum"),
    "g_param": ("prior", "sigma"),
}


def unfolded_builder(
    iteration: str = "PGD",
    *,
    prior: Prior,
    data_fidelity: Fidelity | None = None,
    params_algo: Mapping[str, float | Sequence[float]] | None = None,
    trainable_params: Sequence[str] = (),
    max_iter: int = 5,
) -> Reconstructor:
    """An unfolded network of `max_iter` iterations.

    Args:
        iteration: the name of the algorithm.
        prior: g; `g_param` is its `sigma`.
        data_fidelity: d; least squares if not given.
        params_algo: values of `stepsize`, `lambda`, `g_param`, …; a list gives one per iteration.
        trainable_params: which of them are learned; the networks of the prior always are.
        max_iter: K.

    Raises:
        ConfigError: a name that the algorithm or the prior does not have.
    """
    build = _assembled(iteration, prior, data_fidelity, params_algo or {}, trainable_params)
    return build(Unfolded(max_iter))


def DEQ_builder(
    iteration: str = "PGD",
    *,
    prior: Prior,
    data_fidelity: Fidelity | None = None,
    params_algo: Mapping[str, float] | None = None,
    trainable_params: Sequence[str] = (),
    max_iter: int = 60,
    tol: float = 1e-3,
) -> Reconstructor:
    """A deep-equilibrium network; the arguments are those of `unfolded_builder`.

    Args:
        iteration: the name of the algorithm.
        prior: g; a network takes its firmly nonexpansive form.
        data_fidelity: d; least squares if not given.
        params_algo: values of `stepsize`, `lambda`, `g_param`, …
        trainable_params: which of them are learned; the networks of the prior always are.
        max_iter: evaluations of the step at most.
        tol: relative residual at which an image has converged.
    """
    build = _assembled(iteration, prior, data_fidelity, params_algo or {}, trainable_params)
    return build(DEQ(tol=tol, max_iterations=max_iter))


def _assembled(
    iteration: str,
    prior: Prior,
    fidelity: Fidelity | None,
    values: Mapping[str, Any],
    trainable: Sequence[str],
) -> Callable[[Model], Reconstructor]:
    if iteration not in ITERATIONS:
        raise ConfigError(
            f"iteration = '{iteration}': unknown{nearest(iteration, ITERATIONS)} "
            f"Available: {listing(ITERATIONS)}."
        )
    algorithm = _with(ITERATIONS[iteration](), _ours(values, "algo"), "params_algo")
    prior = _with(prior, _ours(values, "prior"), "params_algo")
    learn = ["prior.*", *(".".join(_home(name, "trainable_params")) for name in trainable)]
    idle = _idle(prior)
    for name in learn:
        if name in idle:
            warnings.warn(
                f"trainable_params: {name} cannot act ({idle[name]}) and is left out.",
                stacklevel=3,
            )
    learn = [name for name in learn if name not in idle]
    fidelity = fidelity or L2()
    return lambda model: Reconstructor(algorithm, prior, fidelity, model, learn=learn, relative=())


def _idle(prior: Prior) -> dict[str, str]:
    idle = {f"prior.{name}": reason for name, reason in prior.cannot_act().items()}
    if not prior.uses_lambda:
        idle["algo.lambda_reg"] = f"{type(prior).__name__} takes no weight"
    return idle


def _ours(values: Mapping[str, Any], owner: str) -> dict[str, Any]:
    homes = {name: _home(name, "params_algo") for name in values}
    return {home[1]: values[name] for name, home in homes.items() if home[0] == owner}


def _home(name: str, key: str) -> tuple[str, str]:
    if name not in NAMES:
        raise ConfigError(
            f"{key}: unknown parameter '{name}'{nearest(name, NAMES)} Available: {listing(NAMES)}."
        )
    return NAMES[name]


def _with(recipe: Any, values: Mapping[str, Any], key: str) -> Any:
    names = {f.name for f in dataclasses.fields(recipe)}
    for name in values:
        if name not in names:
            raise ConfigError(
                f"{key}: {type(recipe).__name__} has no '{name}'. Available: {listing(names)}."
            )
    return dataclasses.replace(recipe, **values)
