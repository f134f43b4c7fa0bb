"""The tensors inside a state or an operator: NamedTuples, tuples and frozen dataclasses of them."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import fields, is_dataclass, replace
from operator import attrgetter
from typing import Any, Protocol, TypeVar, overload, runtime_checkable

import torch
from torch import Tensor

T = TypeVar("T")

Own = Callable[[object], Any]
"""From a node of a tree to its replacement; None to descend into it."""


def tensors(tree: object) -> list[Tensor]:
    """Every tensor in `tree`, in the order of its fields."""
    if isinstance(tree, Tensor):
        return [tree]
    if is_dataclass(tree):
        tree = tuple(getattr(tree, field.name) for field in fields(tree))
    return [t for item in tree for t in tensors(item)] if isinstance(tree, tuple) else []


def named_tensors(tree: object) -> dict[str, Tensor]:
    """Every tensor by the path to its field, `outer.kernel`, in the order of `tensors`."""
    if isinstance(tree, Tensor):
        return {"": tree}
    items: dict[Any, Any] = dict(enumerate(tree)) if isinstance(tree, tuple) else {}
    if is_dataclass(tree):
        items = {field.name: getattr(tree, field.name) for field in fields(tree)}
    inner = ((key, named_tensors(item)) for key, item in items.items())
    return {f"{key}.{name}".rstrip("."): t for key, found in inner for name, t in found.items()}


@runtime_checkable
class Takes(Protocol):
    """Something that stores more per sample than tensors, and so selects samples itself."""

    def taken(self, positions: Tensor, batch: int) -> Any:
        """The same with the samples at `positions` of `batch`."""


def map_tensors(f: Callable[[Tensor], Tensor], tree: T, own: Own | None = None) -> T:
    """The same tree with `f` applied to every tensor; what holds none is shared, not copied.

    `own` gives the replacement of a node, or None to descend into it.
    """
    result: Any = tree
    if own is not None and (replaced := own(tree)) is not None:
        result = replaced
    elif isinstance(tree, Tensor):
        result = f(tree)
    elif isinstance(tree, tuple):
        items = [map_tensors(f, item, own) for item in tree]
        if any(new is not old for new, old in zip(items, tree, strict=True)):
            result = type(tree)(*items) if hasattr(tree, "_fields") else tuple(items)
    elif is_dataclass(tree) and not isinstance(tree, type):
        old = {field.name: getattr(tree, field.name) for field in fields(tree) if field.init}
        new = {name: map_tensors(f, value, own) for name, value in old.items()}
        changed = {name: value for name, value in new.items() if value is not old[name]}
        result = replace(tree, **changed) if changed else tree
    rebuilt: T = result
    return rebuilt


def with_tensors(tree: T, values: list[Tensor]) -> T:
    """The same tree with its tensors replaced by `values`, in the order of `tensors(tree)`."""
    queue = iter(values)
    return map_tensors(lambda _: next(queue), tree)


def to_like(tree: T, x: Tensor) -> T:
    """The same tree on the device and in the precision of `x`; complex stays complex."""
    return map_tensors(lambda t: moved(t, x), tree)


def moved(t: Tensor, x: Tensor) -> Tensor:
    """t on the device and in the precision of `x`; complex stays complex, whole numbers whole."""
    if t.is_complex():
        return t.to(device=x.device, dtype=x.dtype.to_complex())
    return t.to(device=x.device, dtype=x.dtype.to_real() if t.is_floating_point() else t.dtype)


def take(tree: T, positions: Tensor, batch: int) -> T:
    """The samples at `positions` of a tree whose tensors hold `batch` samples, or 1 for all."""

    def own(node: object) -> Any:
        return node.taken(positions, batch) if isinstance(node, Takes) else None

    return map_tensors(lambda t: t[positions] if t.shape[:1] == (batch,) else t, tree, own)


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """(B,) viewed as (B, 1, …, 1), to multiply a tensor of the shape of `like`."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def per_field(value: float | Tensor, u: Tensor) -> float | Tensor:
    """A number per image, (B, 1, 1, 1), viewed so that it multiplies a field of any shape."""
    if isinstance(value, Tensor) and value.ndim:
        return per_image(value.flatten(), u)
    return value


def batched_inner(a: Tensor, b: Tensor) -> Tensor:
    """(B,): Re⟨a, b⟩ of each sample."""
    # Not a lazy conjugate, which the simulated device of the tests loses.
    product = (torch.conj_physical(a) * b).real if a.is_complex() else a * b
    return product.flatten(1).sum(1)


def batched_norm(t: Tensor) -> Tensor:
    """(B,): the Euclidean norm of each sample; infinite where its square overflows."""
    norm: Tensor = torch.linalg.vector_norm(t.flatten(1), dim=1)
    return norm


def same_as(path: str) -> Any:
    """The property that reads a dotted attribute, such as `operator.image_shape`."""
    return property(attrgetter(path))


def over(parts: str, combine: Callable[[Iterable[Any]], Any], path: str) -> Any:
    """The property that combines an attribute of several parts: `over("parts", any, "linear")`."""
    many, one = attrgetter(parts), attrgetter(path)
    return property(lambda whole: combine(map(one, many(whole))))


class Derived:
    """A property computed at first use and kept, unless it must carry a gradient.

    The kept value has no gradient and is no inference tensor, whatever the mode of the first
    caller. Where the operator's tensors require gradients and the caller records them, the value is
    computed anew: a kept graph is freed by the first backward pass, and the second would fail. So
    it is inside a transform of torch.func, whose tensors do not outlive it.

    Args:
        compute: the method that it decorates, from the operator to a tensor.
    """

    def __init__(self, compute: Callable[[Any], Tensor]) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, operator: None, owner: type) -> "Derived": ...

    @overload
    def __get__(self, operator: object, owner: type) -> Tensor: ...

    def __get__(self, operator: Any, owner: type) -> "Tensor | Derived":
        if operator is None:
            return self
        if torch.is_grad_enabled() and any(t.requires_grad for t in tensors(operator)):
            return self.compute(operator)
        kept, key = vars(operator), f"derived {self.compute.__name__}"
        if key not in kept:
            # An exported graph records every change of the mode as a graph of its own.
            plain = torch.compiler.is_exporting()
            mode = nullcontext() if plain else torch.inference_mode(False)
            with mode, torch.no_grad():
                new = self.compute(operator)
            if _transformed(new):
                return new
            kept[key] = new
        value: Tensor = kept[key]
        return value


def _transformed(t: Tensor) -> bool:
    """Whether a tensor belongs to a transform of torch.func: it then has no storage."""
    try:
        t.untyped_storage()
    except NotImplementedError:
        return True
    return False
