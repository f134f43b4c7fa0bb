"""Which algorithm goes with which prior and fidelity, and what to take instead."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from unfold.algorithms.algorithm import Algorithm
from unfold.errors import ConfigError, MisfitError, listing
from unfold.fidelities.fidelity import Fidelity
from unfold.physics.operator import Operator
from unfold.priors.prior import DESCRIPTION, Prior


def check_needs(algorithm: Algorithm[Any], prior: Prior, fidelity: Fidelity) -> None:
    """Refuse parts that do not fit each other.

    Raises:
        MisfitError: names what is missing and which priors or fidelities have it.
    """
    _check(algorithm, prior, "needs_g", "prior", Prior)
    _check(algorithm, fidelity, "needs_f", "fidelity", Fidelity)


def check_linear(algorithm: type[Any], operator: Operator, key: str = "physics") -> None:
    """Refuse an algorithm that asks for A* or (I + γA*A)⁻¹ where A is not linear.

    Args:
        algorithm: its class.
        operator: A.
        key: of the law that drew it, for messages.

    Raises:
        MisfitError: names the operator, its shapes and the algorithms that take it.
    """
    if operator.linear or algorithm.takes_nonlinear:
        return
    takers = [c for c in _concrete(Algorithm) if c.takes_nonlinear]
    raise MisfitError.of(
        lambda name: (
            f"{name(algorithm)} needs a linear operator, and that of {key}, "
            f"{type(operator).__name__} from images of {operator.image_shape} to measurements of "
            f"{operator.measurement_shape}, is not linear. Take an algorithm that needs only the "
            "gradient of f, such as algo=pgd with a prior that has a prox, or algo=gd with one "
            f"that has a gradient. Available: {listing(map(name, takers))}."
        )
    )


def check_one_map(networks: nn.Module) -> None:
    """Refuse layers that make every call another map: an equilibrium iterates one.

    Raises:
        ConfigError: a layer draws at random, or follows the statistics of what it saw.
    """
    for name, layer in networks.named_modules():
        if isinstance(layer, (_DropoutNd, _BatchNorm)) and getattr(layer, "p", 1) != 0:
            raise ConfigError(
                f"model = deq: {name} is {type(layer).__name__}, which makes another map of every "
                "call, so there is no fixed point to find. Take the layer out, InstanceNorm or "
                "GroupNorm in its place, or model=unfolded."
            )


def _check(
    algorithm: Algorithm[Any], part: Prior | Fidelity, needs: str, kind: str, base: type
) -> None:
    for what in sorted(getattr(algorithm, needs) - part.offers()):
        raise MisfitError.of(partial(_misfit, algorithm, part, what, needs, kind, base))


def _misfit(
    algorithm: Algorithm[Any],
    part: Prior | Fidelity,
    what: str,
    needs: str,
    kind: str,
    base: type,
    name: Callable[[type], str],
) -> str:
    """What one part asks of the other in vain, and what to take instead."""
    others = [c for c in _concrete(base) if what in c.provides]
    # An algorithm that asks for nothing ignores the part, which is no way to use it.
    fitting = [c for c in _concrete(Algorithm) if frozenset() < getattr(c, needs)]
    takers = [c for c in fitting if getattr(c, needs) <= part.offers()]
    own = name(type(part))
    return (
        f"{name(type(algorithm))} needs {DESCRIPTION[what]} of the {kind}, and {own} has none. "
        f"With one: {listing({name(c) for c in others})}. "
        f"Algorithms that take {own}: {listing({name(c) for c in takers})}."
    )


def _concrete(base: type) -> list[Any]:
    """Every class of the base's package that can be built."""
    _import_beside(base)
    return [c for c in _subclasses(base) if not inspect.isabstract(c)]


def _import_beside(base: type) -> None:
    """Import every module of the base's package, so that all alternatives are known."""
    package = importlib.import_module(base.__module__.rpartition(".")[0])
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def _subclasses(base: type) -> list[Any]:
    children: list[Any] = base.__subclasses__()
    return [c for child in children for c in (child, *_subclasses(child))]
