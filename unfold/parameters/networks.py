"""The networks and tensors that a recipe holds: every one is found and registered, or refused."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import torch
from torch import Tensor, nn

from unfold.errors import ConfigError
from unfold.parameters.declare import Recipe, declarations

N = TypeVar("N", bound=nn.Module)
R = TypeVar("R", bound=Recipe)

PLAIN = (int, float, complex, str, bytes, type, ModuleType, type(None))


class Network(nn.Module):
    """Base of the networks that a recipe may hold."""

    # `Any`, as it passes on to `__init__` whatever a subclass takes.
    def __new__(cls, *args: Any, **kwargs: Any) -> "Network":
        network = super().__new__(cls)
        if all(_is_setting(value) for value in (*args, *kwargs.values())):
            # What makes the same weights once more: `independent` compares.
            vars(network)["_made"] = (partial(cls, *args, **kwargs), torch.get_rng_state())
        return network

    def prepared(self) -> "Network":
        """The same map with all that depends only on the weights precomputed, for many calls."""
        return self

    def independent(self) -> "Network":
        """Another network: with new random weights, or a copy of weights that were set since."""
        make, state = vars(self).get("_made", (None, None))
        if make is None:
            return copy.deepcopy(self)
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(state)
            first = make().state_dict()
        own = self.state_dict()
        pristine = first.keys() == own.keys() and all(
            torch.equal(first[name].to(t), t) for name, t in own.items()
        )
        if not pristine:
            return copy.deepcopy(self)
        made: Network = make().to(next(self.parameters(), torch.empty(0)))
        return made.train(self.training)


def _is_setting(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_setting(item) for item in value)
    return isinstance(value, PLAIN) or (callable(value) and not isinstance(value, nn.Module))


class PerIteration(nn.ModuleList):
    """The networks of the iterations, one for each; they may differ in size and kind.

    Args:
        stages: the network of iteration k, for every k.
    """

    def __init__(self, stages: Sequence[nn.Module]) -> None:
        super().__init__(stages)


if TYPE_CHECKING:
    Each = Annotated[N, "one for all iterations, or one for each"]
else:  # a step only receives the network of its iteration
    Each = N | PerIteration


def stages(network: nn.Module) -> list[Any]:
    """The networks of the iterations, or the one that they share."""
    return list(network) if isinstance(network, PerIteration) else [network]


def leaves(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """The recipes, networks and tensors in the fields of a recipe, by name: `terms.0`.

    Raises:
        ConfigError: a network or a tensor inside an object of another kind: it would be neither
            trained, saved nor moved to the device.
    """
    for f in fields(recipe):
        if f.name not in declarations(recipe):
            yield from _leaves(type(recipe).__name__, f.name, getattr(recipe, f.name))


def _leaves(owner: str, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Recipe | nn.Module | Tensor):
        if getattr(value, "requires_grad", False) and not isinstance(value, nn.Parameter):
            raise ConfigError(
                f"{owner}.{name} is a tensor that requires a gradient: make it an nn.Parameter."
            )
        yield name, value
    elif isinstance(value, Mapping | tuple | list):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            yield from _leaves(owner, f"{name}.{key}", item)
    elif hides(value):
        raise ConfigError(
            f"{owner}.{name}: {type(value).__name__} holds a network or a tensor, which would be "
            "neither trained, saved nor moved to the device. Make it a field of its own, or an "
            "entry of a tuple or a mapping."
        )


def hides(value: object, kinds: tuple[type, ...] = (nn.Module, Tensor), depth: int = 4) -> bool:
    """Whether a network or a tensor is inside an object: in its fields, closure or arguments."""
    if isinstance(value, kinds):
        return True
    if isinstance(value, PLAIN) or depth == 0:
        return False
    if isinstance(value, Mapping | tuple | list | set | frozenset):
        inner = list(value.values() if isinstance(value, Mapping) else value)
    else:
        cells = getattr(value, "__closure__", None) or ()
        slots = [getattr(value, name, None) for name in getattr(type(value), "__slots__", ())]
        parts = [getattr(value, name, None) for name in ("__self__", "func", "args", "keywords")]
        own = getattr(value, "__dict__", {}).values()
        inner = [*own, *(cell.cell_contents for cell in cells), *slots, *parts]
    return any(hides(item, kinds, depth - 1) for item in inner)


class Place(str):
    """Where a leaf belongs: its name."""


def template(recipe: R) -> tuple[R, list[str]]:
    """The recipe with a `Place` for each leaf, which `deepcopy` would double; and their fields."""
    empty = copy.copy(recipe)
    held = list(dict.fromkeys(name.partition(".")[0] for name, _ in leaves(recipe)))
    for f in held:
        object.__setattr__(empty, f, fill(f, getattr(recipe, f), lambda name, _: Place(name)))
    return empty, held


def fill(name: str, value: Any, find: Callable[[str, Any], Any]) -> Any:
    """A field with every leaf, or place, replaced by `find(name, leaf)`."""
    if isinstance(value, Recipe | nn.Module | Tensor | Place):
        return find(name, value)
    if isinstance(value, Mapping):
        return {key: fill(f"{name}.{key}", item, find) for key, item in value.items()}
    if isinstance(value, tuple | list):
        items = [fill(f"{name}.{i}", item, find) for i, item in enumerate(value)]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value
