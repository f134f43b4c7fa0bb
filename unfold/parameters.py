"""The scalars and networks of a recipe, learned or fixed, tied or one for each iteration.

The name of a parameter is its config path: `algo.stepsize`, `prior.sigma`, `prior.denoiser`. A
fixed value is the buffer `stepsize`, a learned one the parameter `raw_stepsize`, so that a
checkpoint of one kind fails to load as the other instead of being misread.
"""

import copy
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from unfold.constraints import Constraint
from unfold.errors import ConfigError
from unfold.recipe import Network, Recipe, Unit, children, declarations
from unfold.schedules import Schedule

R = TypeVar("R", bound=Recipe)
Scales = Mapping[Unit, Tensor]


class Plan(NamedTuple):
    """How one scalar is kept: its values, () or (K,), its set, its unit, whether it is learned."""

    values: Tensor
    constraint: Constraint
    unit: Unit
    learned: bool


def initial_values(
    name: str, value: object, iterations: int | None, horizon: int | None, *, own: bool
) -> Tensor:
    """The values to start from: () if shared by the iterations, else one for each.

    Args:
        name: of the scalar, for messages.
        value: a number, a list with one for each iteration, or a schedule.
        iterations: K of an unfolded network; None where all iterations share their values.
        horizon: for how many iterations a schedule is read; None where it cannot be followed.
        own: whether a single number is repeated, so that each iteration has its own.

    Raises:
        ConfigError: a list or a schedule where it cannot be meant.
    """
    if isinstance(value, Schedule):
        if horizon is None:
            raise ConfigError(
                f"{name} = {value}: this model repeats one and the same step and needs a number; "
                f"set {name}={value.at(4):.2g}, or model=unfolded."
            )
        return torch.tensor(value.values(horizon), dtype=torch.float64)
    if isinstance(value, list | tuple):
        if iterations is None:
            raise ConfigError(
                f"{name} = {value}: this model repeats one and the same step and needs a number."
            )
        if len(value) != iterations:
            raise ConfigError(
                f"{name} = {list(value)}: a list gives one value per iteration, "
                f"{iterations} are expected (model.iterations), {len(value)} came."
            )
        return torch.tensor(value, dtype=torch.float64)
    start = torch.as_tensor(value, dtype=torch.float64).detach()
    return start.repeat(iterations) if own and iterations is not None else start


class ParameterGroup(nn.Module):
    """The scalars and networks of one recipe; `at(k)` is the recipe of iteration k.

    Args:
        recipe: the template; its structure stays, its values come from here.
        plans: how each scalar is kept, by full name.
        untied: the names of the networks of which each iteration has its own.
        iterations: K, for untied networks.
        path: the name of the recipe.
    """

    def __init__(
        self,
        recipe: Recipe,
        plans: Mapping[str, Plan],
        untied: set[str],
        iterations: int,
        path: str,
    ) -> None:
        super().__init__()
        self.recipe = _without_networks(recipe)
        self.plans = {name: plans[f"{path}.{name}"] for name in declarations(recipe)}
        for name, plan in self.plans.items():
            _register(self, name, plan)
        self.networks: list[str] = []
        for f in fields(recipe):
            value = getattr(recipe, f.name)
            if isinstance(value, nn.Module):
                self.networks.append(f.name)
                own = f"{path}.{f.name}" in untied
                copies = [copy.deepcopy(value) for _ in range(iterations)] if own else []
                self.add_module(f.name, nn.ModuleList(copies) if own else value)
        self.inner: list[str] = []
        for name, child in children(recipe):
            assert isinstance(child, Recipe)
            self.inner.append(name)
            group = ParameterGroup(child, plans, untied, iterations, f"{path}.{name}")
            self.add_module(name.replace(".", "_"), group)

    def value(self, name: str) -> Tensor:
        """The value of a scalar, () or (K,), inside its set and in its own unit."""
        plan = self.plans[name]
        if not plan.learned:
            return self.get_buffer(name)
        return plan.constraint.from_raw(self.get_parameter(f"raw_{name}"))

    def at(self, k: int, scales: Scales) -> Recipe:
        """The recipe of iteration k, with absolute values and networks ready to be called."""
        values: dict[str, Any] = {}
        for name, plan in self.plans.items():
            value = self.value(name)
            value = value[k] if value.ndim else value
            values[name] = value * scales[plan.unit] if plan.unit in scales else value
        for name in self.networks:
            network = self.get_submodule(name)
            network = network[k] if isinstance(network, nn.ModuleList) else network
            values[name] = network.prepared() if isinstance(network, Network) else network
        return replace(self.recipe, **values, **self._children_at(k, scales))

    def _children_at(self, k: int, scales: Scales) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in self.inner:
            group = self.get_submodule(name.replace(".", "_"))
            assert isinstance(group, ParameterGroup)
            owner, _, position = name.partition(".")
            recipe = group.at(k, scales)
            found[owner] = (*found.get(owner, ()), recipe) if position else recipe
        return found

    @property
    def varies(self) -> bool:
        """Whether anything differs between the iterations."""
        own = any(plan.values.ndim for plan in self.plans.values())
        own |= any(isinstance(self.get_submodule(n), nn.ModuleList) for n in self.networks)
        groups = [self.get_submodule(name.replace(".", "_")) for name in self.inner]
        return own or any(isinstance(g, ParameterGroup) and g.varies for g in groups)


def _without_networks(recipe: R) -> R:
    """The template keeps no second reference to a network, which `deepcopy` would double."""
    template = copy.copy(recipe)
    for f in fields(recipe):
        if isinstance(getattr(recipe, f.name), nn.Module):
            object.__setattr__(template, f.name, None)
    return template


def _register(group: nn.Module, name: str, plan: Plan) -> None:
    if not plan.learned:
        group.register_buffer(name, plan.values.to(torch.get_default_dtype()))
        return
    raw = plan.constraint.to_raw(plan.values).to(torch.get_default_dtype())
    group.register_parameter(f"raw_{name}", nn.Parameter(raw))
