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

from unfold.errors import ConfigError
from unfold.parameters.constraints import Constraint
from unfold.parameters.declare import Network, Recipe, Unit, children, declarations
from unfold.parameters.schedules import Schedule

R = TypeVar("R", bound=Recipe)
Scales = Mapping[Unit, Tensor]


class Plan(NamedTuple):
    """How one scalar, or vector, is kept.

    values: () or (K,), one for each iteration; (n,) or (K, n) of a vector.
    constraint: its set.
    unit: what it is relative to.
    learned: whether it is.
    vector: whether the last axis counts its entries.
    """

    values: Tensor
    constraint: Constraint
    unit: Unit
    learned: bool
    vector: bool = False

    @property
    def own(self) -> bool:
        """Whether values are per iteration."""
        return self.values.ndim > self.vector


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
                f"pass a number such as {value.at(4):.2g}, or use an unfolded model."
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
                f"{iterations} are expected (Unfolded.iterations), {len(value)} came."
            )
        return torch.tensor(value, dtype=torch.float64)
    start = torch.as_tensor(value, dtype=torch.float64).detach()
    return start.repeat(iterations) if own and iterations is not None else start


def initial_vector(
    name: str,
    value: object,
    count: int | None,
    iterations: int | None,
    horizon: int | None,
    *,
    own: bool,
) -> Tensor:
    """The values to start from, those of a vector as so many scalars side by side: (n,), (K, n).

    The other arguments are those of `initial_values`. `value` is one number for all `count`
    entries, a list of them, a list of such lists for the iterations, or a schedule for all entries;
    `count` is None of a scalar.
    """
    if count is None:
        return initial_values(name, value, iterations, horizon, own=own)
    columns = [
        initial_values(name, column, iterations, horizon, own=own)
        for column in _columns(name, value, count)
    ]
    return torch.stack(columns, dim=-1)


def _columns(name: str, value: Any, count: int) -> list[Any]:
    """The value of each entry."""
    if not isinstance(value, list | tuple):
        return [value] * count
    nested = any(isinstance(row, list | tuple) for row in value)
    rows = value if nested else [value]
    for row in rows:
        if not isinstance(row, list | tuple) or len(row) != count:
            raise ConfigError(
                f"{name} = {list(value)}: {count} entries are expected, or one number for all."
            )
    return [list(column) if nested else column[0] for column in zip(*rows, strict=True)]


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
            owner, _, position = name.partition(".")
            if position and owner not in self._modules:
                self.add_module(owner, nn.ModuleDict())
            home = self.get_submodule(owner) if position else self
            home.add_module(position or owner, group)

    def value(self, name: str) -> Tensor:
        """The value of a scalar, () or (K,), or of a vector, inside its set and in its own unit."""
        plan = self.plans[name]
        if not plan.learned:
            return self.get_buffer(name)
        return plan.constraint.from_raw(self.get_parameter(f"raw_{name}"))

    def values(self, path: str) -> dict[str, Tensor]:
        """Every value by its full name, those of the recipes inside this one included."""
        found = {f"{path}.{name}": self.value(name).detach() for name in self.plans}
        for name in self.inner:
            group = self.get_submodule(name)
            assert isinstance(group, ParameterGroup)
            found |= group.values(f"{path}.{name}")
        return found

    def at(self, k: int, scales: Scales) -> Recipe:
        """The recipe of iteration k, with absolute values and networks ready to be called."""
        values: dict[str, Any] = {}
        for name, plan in self.plans.items():
            value = self.value(name)
            value = value[k] if plan.own else value
            # The entries lie along the channels, and no axis of theirs is taken for the batch.
            value = value.reshape(1, -1, 1, 1) if plan.vector else value
            values[name] = value * scales[plan.unit] if plan.unit in scales else value
        for name in self.networks:
            network = self.get_submodule(name)
            network = network[k] if isinstance(network, nn.ModuleList) else network
            values[name] = network.prepared() if isinstance(network, Network) else network
        return replace(self.recipe, **values, **self._children_at(k, scales))

    def _children_at(self, k: int, scales: Scales) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in self.inner:
            group = self.get_submodule(name)
            assert isinstance(group, ParameterGroup)
            owner, _, position = name.partition(".")
            recipe = group.at(k, scales)
            found[owner] = (*found.get(owner, ()), recipe) if position else recipe
        return found

    @property
    def varies(self) -> bool:
        """Whether anything differs between the iterations."""
        own = any(plan.own for plan in self.plans.values())
        own |= any(isinstance(self.get_submodule(n), nn.ModuleList) for n in self.networks)
        groups = [self.get_submodule(name) for name in self.inner]
        return own or any(isinstance(g, ParameterGroup) and g.varies for g in groups)


def _without_networks(recipe: R) -> R:
    """The template keeps no second reference to a network, which `deepcopy` would double."""
    template = copy.copy(recipe)
    for f in fields(recipe):
        value = getattr(recipe, f.name)
        if isinstance(value, nn.Module):
            object.__setattr__(template, f.name, None)
        elif isinstance(value, Recipe):
            object.__setattr__(template, f.name, _without_networks(value))
        elif isinstance(value, tuple):
            items = (_without_networks(v) if isinstance(v, Recipe) else v for v in value)
            object.__setattr__(template, f.name, tuple(items))
    return template


def _register(group: nn.Module, name: str, plan: Plan) -> None:
    if not plan.learned:
        group.register_buffer(name, plan.values.to(torch.get_default_dtype()))
        return
    raw = plan.constraint.to_raw(plan.values).to(torch.get_default_dtype())
    group.register_parameter(f"raw_{name}", nn.Parameter(raw))
