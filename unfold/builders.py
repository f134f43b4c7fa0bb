"""The seed vocabulary: `BaseUnfold` and `BaseDEQ`, and the builders that return them."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from unfold.algorithms.algorithm import Algorithm
from unfold.compatibility import concrete
from unfold.errors import ConfigError, listing, nearest
from unfold.fidelities.fidelity import Fidelity
from unfold.fidelities.l2 import L2
from unfold.models.deq import DEQ
from unfold.models.model import Model
from unfold.models.unfolded import Unfolded
from unfold.parameters.declare import declarations
from unfold.parameters.select import Trainable
from unfold.priors.prior import Prior
from unfold.reconstructor import Reconstructor

Iteration = str | Algorithm[Any] | type[Algorithm[Any]]
"""The class name of an algorithm, `"PGD"`, or an algorithm of the user: an instance or a class."""

# Parameter names of the vocabulary; every declared scalar also goes by its own name. `stepsize` is
# absolute there, as it is here.
NAMES: Mapping[str, tuple[str, str]] = {
    "lambda": ("algo", "lambda_reg"),
    "g_param": ("prior", "sigma"),
    **{
        name: ("algo", name)
        for name in ("stepsize", "stepsize_dual", "lambda_reg", "beta", "momentum")
    },
}


class _Built(Reconstructor):
    """A reconstructor from the arguments of the builders; step sizes are absolute."""

    def __init__(
        self,
        iteration: Iteration,
        prior: Prior,
        data_fidelity: Fidelity | None,
        model: Model,
        params_algo: Mapping[str, Any],
        trainable_params: Sequence[str],
        *,
        strict: bool = False,
    ) -> None:
        algorithm = _algorithm(iteration)
        for name, value in params_algo.items():
            owner, field = _home(name, "params_algo", algorithm)
            if owner == "algo":
                algorithm = _with(algorithm, field, value)
            else:
                prior = _with(prior, field, value)
        homes = [_home(name, "trainable_params", algorithm) for name in trainable_params]
        learn = _that_act(["prior.*", *map(".".join, homes)], prior)
        fidelity = data_fidelity or L2()
        trainable = Trainable(learn, relative=())
        super().__init__(algorithm, prior, fidelity, model, trainable=trainable, strict=strict)


class BaseUnfold(_Built):
    """An unfolded network of `max_iter` iterations.

    Args:
        iteration: the class name of an algorithm, or an algorithm of the user.
        prior: g; `g_param` is its `sigma`.
        data_fidelity: d; least squares if not given.
        params_algo: values of `stepsize`, `lambda`, `g_param`, …; a list gives one per iteration.
        trainable_params: which of them are learned; the networks of the prior always are.
        max_iter: K.

    Raises:
        ConfigError: a name that the algorithm or the prior does not have.
    """

    def __init__(
        self,
        iteration: Iteration = "PGD",
        *,
        prior: Prior,
        data_fidelity: Fidelity | None = None,
        params_algo: Mapping[str, float | Sequence[float]] | None = None,
        trainable_params: Sequence[str] = (),
        max_iter: int = 5,
    ) -> None:
        model, values = Unfolded(max_iter), params_algo or {}
        super().__init__(iteration, prior, data_fidelity, model, values, trainable_params)


class BaseDEQ(_Built):
    """A deep-equilibrium network; the arguments are those of `BaseUnfold`.

    Args:
        prior: g; a network is used as given, with a warning where it may expand.
        max_iter: evaluations of the step at most.
        tol: relative residual at which an image has converged.
        strict: whether a network that may expand is an error.
    """

    def __init__(
        self,
        iteration: Iteration = "PGD",
        *,
        prior: Prior,
        data_fidelity: Fidelity | None = None,
        params_algo: Mapping[str, float] | None = None,
        trainable_params: Sequence[str] = (),
        max_iter: int = DEQ.max_iterations,
        tol: float = DEQ.tol,
        strict: bool = False,
    ) -> None:
        model, values = DEQ(tol=tol, max_iterations=max_iter), params_algo or {}
        super().__init__(
            iteration, prior, data_fidelity, model, values, trainable_params, strict=strict
        )


unfolded_builder = BaseUnfold
DEQ_builder = BaseDEQ


def _algorithm(iteration: Iteration) -> Algorithm[Any]:
    if isinstance(iteration, Algorithm):
        return iteration
    if isinstance(iteration, type) and issubclass(iteration, Algorithm):
        return iteration()
    own = [kind for kind in concrete(Algorithm) if kind.__module__.startswith("unfold.algorithms.")]
    known = {kind.__name__: kind for kind in own}
    if iteration not in known:
        raise ConfigError(
            f"iteration = {iteration!r}: unknown{nearest(str(iteration), known)} "
            f"Available: {listing(known)}, or an Algorithm."
        )
    built: Algorithm[Any] = known[iteration]()
    return built


def _that_act(learn: Sequence[str], prior: Prior) -> list[str]:
    """The names without those that cannot act, each with a warning."""
    inactive = {f"prior.{name}": reason for name, reason in prior.cannot_act().items()}
    if not prior.uses_lambda:
        inactive["algo.lambda_reg"] = f"{type(prior).__name__} takes no weight"
    for name in filter(inactive.__contains__, learn):
        warnings.warn(
            f"trainable_params: {name} cannot act ({inactive[name]}) and is left out.", stacklevel=4
        )
    return [name for name in learn if name not in inactive]


def _home(name: str, key: str, algorithm: Algorithm[Any]) -> tuple[str, str]:
    known = {**{name: ("algo", name) for name in declarations(algorithm)}, **NAMES}
    if name not in known:
        raise ConfigError(
            f"{key}: unknown parameter '{name}'{nearest(name, known)} Available: {listing(known)}."
        )
    return known[name]


def _with(recipe: Any, name: str, value: Any) -> Any:
    if name not in (names := {f.name for f in dataclasses.fields(recipe)}):
        kind = type(recipe).__name__
        raise ConfigError(f"params_algo: {kind} has no '{name}'. Available: {listing(names)}.")
    return dataclasses.replace(recipe, **{name: value})
