"""The scalars and networks of a recipe, learned or fixed, tied or one for each iteration.

The name of a parameter is its config path: `algo.stepsize`, `prior.sigma`, `prior.denoiser`. A
fixed value is the buffer `stepsize`, a learned one the parameter `raw_stepsize`, so that a
checkpoint of one kind fails to load as the other instead of being misread.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unfold.errors import ConfigError
from unfold.parameters.condition import Condition
from unfold.parameters.constraints import Constraint
from unfold.parameters.declare import Recipe, Unit
from unfold.parameters.networks import Network, PerIteration, fill, leaves, template
from unfold.parameters.schedules import Schedule

Scales = Mapping[str, Tensor]
"""What values are relative to, by unit, and what is added to those of a condition, by name."""


class Plan(NamedTuple):
    """How one scalar, or vector, is kept.

    values: () or (K,), one for each iteration; (n,) or (K, n) of a vector.
    constraint: its set.
    unit: what it is relative to.
    learned: whether it is.
    vector: how many of the last axes count its entries.
    features: of the problem, on which it depends.
    """

    values: Tensor
    constraint: Constraint
    unit: Unit
    learned: bool
    vector: int = 0
    features: tuple[str, ...] = ()

    @property
    def own(self) -> bool:
        """Whether values are per iteration."""
        return self.values.ndim > self.vector


def initial_values(
    name: str,
    value: object,
    iterations: int | None,
    horizon: int | None,
    count: int | None = None,
    *,
    own: bool,
) -> Tensor:
    """The values to start from: () if shared by the iterations, else one for each, (K,).

    Those of a vector, (n,) or (K, n), are those of so many scalars side by side.

    A value is a number, a list with one for each iteration, or a schedule; of a vector of `count`
    entries it is for all of them, or a list of numbers for them, or a list of such lists for the
    iterations. A single number is repeated where each iteration has its `own`; `iterations` and
    `horizon` are those of `make_groups`.

    Raises:
        ConfigError: a list or a schedule where it cannot be meant.
    """
    if count is not None:
        entries = _entries(name, value, count)
        found = [initial_values(name, v, iterations, horizon, own=own) for v in entries]
        return torch.stack(found, dim=-1)
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


def _entries(name: str, value: Any, count: int) -> list[Any]:
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

    The recipe is a template: its structure stays, and its values come from `plans`, by full name,
    and from its networks, of which `untied` have one for each iteration.
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
        self.path, (self.recipe, self.filled) = path, template(recipe)
        known = ((*name.rpartition("."), plan) for name, plan in plans.items())
        self.plans = {name: plan for owner, _, name, plan in known if owner == path}
        for name, plan in self.plans.items():
            _register(self, name, plan, path)
        self.network_names: list[str] = []
        self.group_names: list[str] = []
        self.per_iteration: set[str] = set()
        for name, leaf in leaves(recipe):
            if isinstance(leaf, Recipe):
                leaf = ParameterGroup(leaf, plans, untied, iterations, f"{path}.{name}")
                self.group_names.append(name)
            else:
                self.network_names.append(name)
            if f"{path}.{name}" in untied:
                leaf = _copies(leaf, iterations)
            if f"{path}.{name}" in untied or isinstance(leaf, PerIteration):
                self.per_iteration.add(name)
            _hold(self, name, leaf)

    def value(self, name: str, added: Tensor | None = None) -> Tensor:
        """The value of a scalar, () or (K,), or of a vector, inside its set and in its own unit.

        `added` is what a condition adds to the unconstrained value of each problem, (B, …).
        """
        plan = self.plans[name]
        if not (plan.learned or plan.features):
            return self.get_buffer(name)
        raw = self.get_parameter(f"raw_{name}")
        return plan.constraint.from_raw(raw if added is None else raw + added)

    def curves(self) -> Iterator[tuple[str, str, Tensor, Tensor]]:
        """Of each parameter with a condition its name, a feature, this over its range, the value.

        The value is (count, …), in the unit of the parameter; none before a training.
        """
        for name, plan in self.plans.items():
            for i, feature in enumerate(plan.features):
                condition = self.get_submodule(f"condition_{name}")
                assert isinstance(condition, Condition)
                if bool(condition.known):
                    at, added = condition.over(i)
                    yield f"{self.path}.{name}", feature, at, self.value(name, added)

    # The algorithm or the prior that came, of the class that came.
    def at(self, k: int, scales: Scales) -> Any:
        """The recipe of iteration k, with absolute values and networks ready to be called."""
        values: dict[str, Any] = {}
        for name, plan in self.plans.items():
            # Entries lie along the channels, and no axis of theirs is taken for the batch.
            added = scales.get(f"{self.path}.{name}")
            value = self.value(name, added)
            if added is not None:
                value = value[:, k] if plan.own else value
                value = value.reshape(len(value), -1, 1, 1)
            else:
                value = value[k] if plan.own else value
                value = value.reshape(1, -1, 1, 1) if plan.vector else value
            if plan.unit == "noise_level" and plan.unit not in scales:
                raise ConfigError(
                    f"{type(self.recipe).__name__}.{name} = noise_level, and that of this "
                    "measurement is not known: pass noise_level=σ with it, fix the level of the "
                    "noise of the physics, let it estimate (MeasuredNoise.sigma = estimate), or "
                    "give a number."
                )
            values[name] = value * scales[plan.unit] if plan.unit in scales else value
            told = plan.unit == "noise_level" and values[name].device.type == "cpu"
            if told and not (torch.compiler.is_compiling() or plan.constraint.holds(values[name])):
                raise ConfigError(
                    f"{type(self.recipe).__name__}.{name} = noise_level, and that of this "
                    f"measurement is {value_range(values[name])}: must be {plan.constraint}."
                )

        def leaf(name: str, _: object) -> Any:
            found = held(self, name)
            if isinstance(found, ParameterGroup):
                return found.at(k, scales)
            found = found[k] if name in self.per_iteration else found
            return found.prepared() if isinstance(found, Network) else found

        filled = {name: fill(name, getattr(self.recipe, name), leaf) for name in self.filled}
        return replace(self.recipe, **values, **filled)

    @property
    def varies(self) -> bool:
        """Whether anything differs between the iterations."""
        own = bool(self.per_iteration) or any(plan.own for plan in self.plans.values())
        return own or any(held(self, name).varies for name in self.group_names)


def _copies(leaf: nn.Module | Tensor, count: int) -> nn.Module:
    """One for each iteration, the first a copy; networks that are random are so independently."""
    if isinstance(leaf, PerIteration):
        return leaf
    if not isinstance(leaf, nn.Module):
        return nn.ParameterList([leaf.detach().clone() for _ in range(count)])
    later = [
        leaf.independent() if isinstance(leaf, Network) else copy.deepcopy(leaf)
        for _ in range(count - 1)
    ]
    return PerIteration([copy.deepcopy(leaf), *later])


def _hold(home: nn.Module, name: str, leaf: nn.Module | Tensor) -> None:
    """Register a leaf, those of containers in a module for each container."""
    *owners, last = name.split(".")
    first = name.partition(".")[0]
    if hasattr(home, first) and not (owners and first in home._modules):
        raise ConfigError(f"'{first}' cannot be the name of a field with a network; rename it.")
    for owner in owners:
        if owner not in home._modules:
            home.add_module(owner, nn.ModuleDict())
        home = home.get_submodule(owner)
    if isinstance(leaf, nn.Module):
        home.add_module(last, leaf)
    elif isinstance(leaf, nn.Parameter):
        home.register_parameter(last, leaf)
    else:
        home.register_buffer(last, leaf)


def conditions_of(root: nn.Module) -> Iterator[tuple[str, Condition]]:
    """What is added to parameters that depend on the problem, by their names."""
    for group in (module for module in root.modules() if isinstance(module, ParameterGroup)):
        for name in (name for name, plan in group.plans.items() if plan.features):
            yield f"{group.path}.{name}", group.get_submodule(f"condition_{name}")  # type: ignore[misc]


def groups_of(root: nn.Module) -> Iterator[tuple[str, ParameterGroup]]:
    """The groups in a module, those inside others included, by the names of their recipes."""
    for name, module in root.named_modules():
        if isinstance(module, ParameterGroup):
            yield name, module


def value_range(value: Tensor) -> str:
    """The least and the largest number of a tensor, in four digits; one number where they agree."""
    value = value.detach()
    least, largest = (value.abs() if value.is_complex() else value).aminmax()
    ends = sorted({f"{float(least):.4g}", f"{float(largest):.4g}"}, key=float)
    return " to ".join(ends)


def weights_of(group: nn.Module, name: str) -> list[nn.Parameter]:
    """The parameters of a network, of all iterations, or the one parameter of that name."""
    leaf = held(group, name)
    return list(leaf.parameters()) if isinstance(leaf, nn.Module) else [leaf]


def held(home: nn.Module, name: str) -> Any:
    """The module, parameter or buffer of that dotted name."""
    owner, _, last = name.rpartition(".")
    return getattr(home.get_submodule(owner), last)


def _register(group: nn.Module, name: str, plan: Plan, path: str) -> None:
    if not (plan.learned or plan.features):
        group.register_buffer(name, plan.values.to(torch.get_default_dtype()))
        return
    raw = plan.constraint.to_raw(plan.values).to(torch.get_default_dtype())
    group.register_parameter(f"raw_{name}", nn.Parameter(raw, requires_grad=plan.learned))
    if plan.features:
        condition = Condition(f"{path}.{name}", plan.features, raw.shape)
        group.add_module(f"condition_{name}", condition.requires_grad_(plan.learned))
