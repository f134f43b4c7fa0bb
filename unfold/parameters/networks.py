"""The networks and tensors that a recipe holds: every one is found and registered, or refused."""

import copy
import inspect
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import fields
from functools import cache, partial
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from unfold.errors import ConfigError
from unfold.parameters.declare import Recipe, declarations

N = TypeVar("N", bound=nn.Module)
R = TypeVar("R", bound=Recipe)

PLAIN = (int, float, complex, str, bytes, type, ModuleType, type(None))


class Network(nn.Module):
    """Base of the networks that a recipe may hold."""

    def __init_subclass__(cls) -> None:
        # Early releases of Python 3.11 show an inherited `__new__` before an inherited `__init__`.
        shown = inspect.signature(cls.__init__)
        own = [one for name, one in shown.parameters.items() if name != "self"]
        setattr(cls, "__signature__", shown.replace(parameters=own))  # noqa: B010
        super().__init_subclass__()

    # `Any`, as it passes on to `__init__` whatever a subclass takes.
    def __new__(cls, *args: Any, **kwargs: Any) -> "Network":
        network = super().__new__(cls)
        if all(_is_setting(value) for value in (*args, *kwargs.values())):
            # What makes the same weights once more: `independent` compares.
            vars(network)["_made"] = (partial(cls, *args, **kwargs), torch.get_rng_state())
        return network

    def derived(self) -> Any:
        """What depends only on the weights; None where nothing does."""
        return None

    def prepared(self) -> "Network":
        """The same map with what depends only on the weights computed once, for many calls."""
        found = self.derived()
        if found is None:
            return self
        one = copy.copy(self)
        vars(one)["_derived"] = found
        return one

    def once(self) -> Any:
        """What depends only on the weights: of `prepared`, or computed now."""
        found = vars(self).get("_derived")
        return self.derived() if found is None else found

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
    """The networks of the iterations, one for each; they may differ in size and kind."""


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
        ConfigError: there is a network or a tensor inside an object of another kind.
    """
    for name in _held_fields(recipe):
        yield from _leaves(type(recipe).__name__, name, getattr(recipe, name))


def _held_fields(recipe: Recipe) -> list[str]:
    """The fields that are no declared scalars."""
    return [f.name for f in fields(recipe) if f.name not in declarations(recipe)]


def expect_registered(recipe: Recipe) -> None:
    """Refuse weights that no field of a recipe, or no registered attribute of a network, holds.

    Raises:
        ConfigError: they would be neither trained, saved nor moved to the device.
    """
    kind: Any = type(recipe)
    owner, known = kind.__name__, {f.name: f for f in fields(recipe)}
    loose = [name for name, value in vars(recipe).items() if name not in known and hides(value)]
    loose += _in_class(kind)
    loose += [name for name, f in known.items() if not f.init and hides(getattr(recipe, name))]
    if loose:
        raise ConfigError(f"{owner}.{loose[0]} holds a network or a tensor, {_LOST} {_REMEDY}")
    for name in _held_fields(recipe):
        _expect_keys(f"{owner}.{name}", getattr(recipe, name))
    for path, leaf in leaves(recipe):
        if isinstance(leaf, nn.Module):
            _expect_attributes(f"{owner}.{path}", leaf)


@cache
def _in_class(kind: Any) -> list[str]:
    """The attributes of a class, and of its bases, that hold weights."""
    known = {f.name for f in fields(kind)}
    own = [item for base in kind.__mro__ for item in vars(base).items()]
    named = [(n, v) for n, v in own if not n.startswith("__") and n not in known]
    return [name for name, value in named if hides(value, (nn.Module, nn.Parameter))]


_LOST = "which would be neither trained, saved nor moved to the device."
_REMEDY = (
    "Make it a field of its own that the constructor takes, or an entry of a tuple or a mapping."
)


def _expect_keys(name: str, value: Any) -> None:
    """Refuse keys of networks that cannot be the names of modules."""
    if not isinstance(value, Mapping | tuple | list):
        return
    items = list(value.values() if isinstance(value, Mapping) else value)
    keys = [str(key) for key in value] if isinstance(value, Mapping) and hides(items) else []
    reserved = nn.ModuleDict()
    for key in keys:
        if not key or "." in key or keys.count(key) > 1 or hasattr(reserved, key):
            raise ConfigError(
                f"{name}: the key '{key}' cannot name a network: keys differ as text, have no dot, "
                "and are no attribute of nn.ModuleDict. Rename it."
            )
    for item in items:
        _expect_keys(name, item)


def _expect_attributes(name: str, network: nn.Module) -> None:
    """Refuse attributes of a network that hold weights which PyTorch does not know of."""
    known = {id(item) for item in (*network.modules(), *network.parameters(), *network.buffers())}
    internal = vars(nn.Module()).keys()
    for path, module in network.named_modules():
        for attribute, value in vars(module).items():
            # A hook of reparametrisation sets the weight before every call: it is no leaf.
            hooked = bool(module._forward_pre_hooks)
            if attribute not in internal and any(
                id(item) not in known and _has_weights(item, hooked) for item in _held_in(value)
            ):
                where = ".".join(filter(None, (name, path, attribute)))
                raise ConfigError(
                    f"{where} of {type(module).__name__} holds weights that are not registered, "
                    f"{_LOST} Use nn.ModuleList, nn.ModuleDict, nn.Parameter or register_buffer."
                )


def _held_in(value: Any) -> Iterator[Any]:
    """The modules and tensors in plain containers."""
    if isinstance(value, nn.Module | Tensor):
        yield value
    elif isinstance(value, Mapping | tuple | list | set | frozenset | deque):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _held_in(item)


def _has_weights(item: nn.Module | Tensor, hooked: bool) -> bool:
    if isinstance(item, Tensor):
        return item.requires_grad and (item.is_leaf or not hooked)
    return any(True for _ in (*item.parameters(), *item.buffers()))


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
    elif isinstance(value, Iterator):
        raise ConfigError(
            f"{owner}.{name}: {type(value).__name__} can be read only once. Make it a tuple."
        )
    elif hides(value):
        kind = type(value).__name__
        raise ConfigError(f"{owner}.{name}: {kind} holds a network or a tensor, {_LOST} {_REMEDY}")


def hides(value: object, kinds: tuple[type, ...] = (nn.Module, Tensor), depth: int = 4) -> bool:
    """Whether a network or a tensor is inside an object: in its fields, closure or arguments."""
    if isinstance(value, kinds):
        return True
    if isinstance(value, (*PLAIN, Tensor, range, bytearray, memoryview, array)) or depth == 0:
        return False
    if isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        return False
    inner: list[Any] = [getattr(value, name, None) for name in _PARTS]
    inner += [getattr(value, name, None) for name in getattr(type(value), "__slots__", ())]
    inner += [*getattr(value, "__dict__", {}).values()]
    inner += [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    if isinstance(value, Collection):
        plain = value.flat if isinstance(value, np.ndarray) else value
        inner += value.values() if isinstance(value, Mapping) else plain
    return any(hides(item, kinds, depth - 1) for item in inner)


_PARTS = ("__self__", "func", "args", "keywords", "__defaults__", "__kwdefaults__")


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
