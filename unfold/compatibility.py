"""Which algorithm goes with which prior and fidelity, and what to take instead."""

import importlib
import inspect
import pkgutil
import warnings
from abc import ABC
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from unfold.algorithms.algorithm import Algorithm
from unfold.denoisers.lipschitz import lipschitz
from unfold.errors import ConfigError, IncompatibleError, contract
from unfold.fidelities.fidelity import Fidelity
from unfold.parameters.declare import NOISE_LEVEL, Recipe, declarations
from unfold.parameters.networks import hides, leaves
from unfold.parameters.select import walk
from unfold.physics.blur.blur import Blur
from unfold.physics.inpainting import Inpainting
from unfold.physics.mri.cartesian import CartesianMRI
from unfold.physics.operator import Operator
from unfold.priors.denoiser_priors import DenoiserPrior
from unfold.priors.prior import DESCRIPTION, Prior


def check_needs(algorithm: Algorithm[Any], prior: Prior, fidelity: Fidelity) -> None:
    """Refuse parts that do not fit each other."""
    _check(algorithm, prior, "needs_g", "prior", Prior)
    _check(algorithm, fidelity, "needs_f", "fidelity", Fidelity)
    if prior.penalizes and type(algorithm).penalty is Algorithm.penalty:
        raise IncompatibleError(
            "{prior} adds a penalty to the loss, which {algorithm} does not evaluate. Use one of "
            "{takers}, or set the weight of the penalty to 0.",
            prior=type(prior),
            algorithm=type(algorithm),
            takers=[c for c in concrete(Algorithm) if c.penalty is not Algorithm.penalty],
        )


def check_linear(algorithm: type[Any], operator: Operator, source: str = "") -> None:
    """Refuse an algorithm that asks for A* or (I + γA*A)⁻¹ where A is not linear.

    `source` of the operator ends its name in messages: " of evaluation.operators.blur".
    """
    if operator.linear or algorithm.takes_nonlinear:
        return
    raise IncompatibleError(
        "{algorithm} needs a linear operator, and "
        f"{type(operator).__name__}{source}, from images of {operator.image_shape} to measurements "
        f"of {operator.measurement_shape}, is not linear: no A*, no (I + γA*A)⁻¹. Take linear "
        "physics, such as {linear}, or an algorithm that needs only the gradient of f, such as PGD "
        "with a prior that has a proximal operator, or GD with one that has a gradient. Available: "
        "{takers}.",
        algorithm=algorithm,
        linear=[Blur, Inpainting, CartesianMRI],
        takers=[c for c in concrete(Algorithm) if c.takes_nonlinear],
    )


def check_one_map(networks: nn.Module) -> None:
    """Refuse layers that make every call another map: an equilibrium iterates one."""
    for name, layer in networks.named_modules():
        if isinstance(layer, (_DropoutNd, _BatchNorm)) and getattr(layer, "p", 1) != 0:
            raise ConfigError(
                f"DEQ: {name} is {type(layer).__name__}, which makes another map of every call, so "
                "there is no fixed point to find. Remove the layer, use InstanceNorm or GroupNorm "
                "instead, or use an unfolded model."
            )


def check_contraction(algorithm: Algorithm[Any], prior: Prior, *, strict: bool) -> None:
    """Warn about a network with which an equilibrium may not exist: it is used as given.

    Raises:
        ConfigError: there is one, and `strict`.
    """
    found = [*walk(algorithm, "algo"), *(walk(prior, "prior") if algorithm.uses_g else ())]
    for message in filter(None, (_expansion(one) for _, one in found)):
        if strict:
            raise ConfigError(message)
        warnings.warn(message, stacklevel=3)


def _expansion(one: Recipe) -> str | None:
    """What is known of the Lipschitz constant of a recipe with a network.

    None where it is at most 1, or where the steps descend on an objective.
    """
    networks = [leaf for _, leaf in leaves(one) if isinstance(leaf, nn.Module)]
    if not networks or getattr(one, "nonexpansive", False) or getattr(one, "descends", False):
        return None
    kinds = " and ".join(dict.fromkeys(type(network).__name__ for network in networks))
    if not isinstance(one, DenoiserPrior) or one.representation != "parts":
        return (
            f"{type(one).__name__} uses {kinds} in an equilibrium, and nothing is known of its "
            f"Lipschitz constant{_measured(one, networks)}, where at most 1 is needed, in training "
            "too; there may be no fixed point. What fits: a prior with NonexpansiveResNet "
            "(prior=nonexpansive), an unfolded model, or `nonexpansive = True` in a class of which "
            "it is proven."
        )
    if (found := measured_lipschitz(one)) < 0.99:
        return None
    return (
        f"{type(one).__name__} uses {kinds} as given in an equilibrium, "
        f"and nothing keeps it nonexpansive: its measured Lipschitz constant is {found:.4g}, "
        "where at most 1 is needed, in training too; there may be no fixed point. What fits: "
        "NonexpansiveResNet (prior=nonexpansive), spectral normalisation of its layers, or an "
        "average of the identity with such a network."
    )


def measured_lipschitz(prior: DenoiserPrior) -> float:
    """The measured Lipschitz constant of what has to be nonexpansive in an equilibrium."""
    weight = next(prior.denoiser.parameters(), torch.empty(0))
    words: dict[str, Any] = {
        name: 0.05 for name in declarations(prior) if getattr(prior, name) == NOISE_LEVEL
    }
    part = replace(prior, **words).contractive_part
    return lipschitz(part, prior.denoiser.channels, weight)


def _measured(one: Recipe, networks: Sequence[nn.Module]) -> str:
    """The measured constant of prox, or of x − ∇g, where it can be: ", measured 2.1"."""
    if not isinstance(one, Prior) or isinstance(one, DenoiserPrior):
        return ""  # of phases, which jump, real images tell nothing
    weight = next((p for n in networks for p in n.parameters()), torch.empty(0))
    part = (lambda v: one.prox(v, 1.0)) if "prox" in one.offers() else (lambda v: v - one.grad(v))
    for channels in (1, 3):
        # A prior of the user may need other images, or more than an image.
        with suppress(Exception):
            return f", measured {lipschitz(part, channels, weight):.4g}"
    return ""


def check_registered(**components: object) -> None:
    """Refuse networks in a component of which nothing is learned."""
    for name, component in components.items():
        if hides(vars(component) if component else None, (nn.Module, nn.Parameter)):
            raise ConfigError(
                f"{type(component).__name__} holds a network or a parameter, and nothing of the "
                f"{name} is trained or saved. Make it a field of the algorithm or of the prior."
            )


def _check(
    algorithm: Algorithm[Any], component: Prior | Fidelity, needs: str, kind: str, base: type
) -> None:
    for what in sorted(getattr(algorithm, needs)):
        foreign = not type(component).__module__.startswith("unfold.") and hasattr(base, what)
        inherits = foreign and base is Prior and getattr(type(component), what) is vars(base)[what]
        if what in component.offers() and not inherits:
            continue
        own = f"{contract(base, what)}, and name it in `provides`. " if foreign else ""
        # An algorithm that asks for nothing ignores the component, which is no way to use it.
        fitting = [c for c in concrete(Algorithm) if frozenset() < getattr(c, needs)]
        raise IncompatibleError(
            f"{{algorithm}} needs {DESCRIPTION[what]} of the {kind}, and {{component}} has none. "
            f"{own}With one: {{others}}. Algorithms that take {{component}}: {{takers}}.",
            algorithm=type(algorithm),
            component=type(component),
            others=[c for c in concrete(base) if what in c.provides],
            takers=[c for c in fitting if getattr(c, needs) <= component.offers()],
        )


def concrete(base: type) -> list[Any]:
    """Every class of the base's package that can be built; all its modules are imported."""
    package = importlib.import_module(base.__module__.rpartition(".")[0])
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return [c for c in _subclasses(base) if not (inspect.isabstract(c) or ABC in c.__bases__)]


def _subclasses(base: type) -> list[Any]:
    children: list[Any] = base.__subclasses__()
    return [c for child in children for c in (child, *_subclasses(child))]
