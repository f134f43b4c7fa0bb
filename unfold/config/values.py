"""Values of a configuration, checked against annotations and converted where that is exact."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from unfold.config.errors import UNKNOWN, shown

Visit = Callable[[Mapping[str, Any], Any, str], Any]
"""Reads a node that has a `_target_`, given the annotation and the path."""

PLAIN: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    types.NoneType: "null",
    Path: "a path",
}

ANYTHING = (Any, object, inspect.Parameter.empty)
"""Annotations that admit every value."""


class Mismatch(Exception):  # noqa: N818 (not an error: a verdict on a value)
    """A value that does not fit its annotation, with what is expected."""

    def __init__(self, expected: str, path: str, value: object) -> None:
        super().__init__(expected)
        self.expected, self.path, self.value = expected, path, value


def read(value: Any, annotation: Any, path: str, visit: Visit) -> Any:
    """The value as its annotation requires; `visit` reads nodes that have a `_target_`."""
    if value is UNKNOWN:
        raise Mismatch(describe(annotation), path, value)
    if isinstance(value, Mapping) and "_target_" not in value and _is_block(annotation):
        value = {"_target_": f"{annotation.__module__}.{annotation.__qualname__}", **value}
    if isinstance(value, Mapping) and "_target_" in value:
        return visit(value, annotation, path)
    origin = get_origin(annotation)
    if annotation in ANYTHING:
        if not isinstance(value, dict | list):
            return value
        annotation = Mapping[str, Any] if isinstance(value, dict) else list[Any]
    if origin is Annotated:
        return read(value, get_args(annotation)[0], path, visit)
    if origin in (Union, types.UnionType):
        return _union(value, annotation, path, visit)
    if origin is Literal:
        return _literal(value, annotation, path)
    if annotation in PLAIN:
        return _scalar(value, annotation, path)
    return _collection(value, annotation, path, visit)


def _is_block(annotation: Any) -> bool:
    """Whether a block of keys can mean one class only, which it need not name."""
    is_own = inspect.isclass(annotation) and is_dataclass(annotation)
    return is_own and not inspect.isabstract(annotation) and not annotation.__subclasses__()


def _scalar(value: Any, annotation: Any, path: str) -> Any:
    if annotation is float and type(value) is int:
        return float(value)
    if annotation is Path and isinstance(value, str):
        return Path(value)
    if type(value) is not annotation:
        raise Mismatch(PLAIN[annotation], path, value)
    return value


def _literal(value: Any, annotation: Any, path: str) -> Any:
    for option in get_args(annotation):
        # The command line reads precision=32 as a number, where the option is the string "32".
        if option == (str(value) if type(value) is int and isinstance(option, str) else value):
            return option
    raise Mismatch(describe(annotation), path, value)


def _union(value: Any, annotation: Any, path: str, visit: Visit) -> Any:
    arms = get_args(annotation)
    # 1 stays a whole number in `float | int`: the arm of its own type comes first.
    for arm in sorted(arms, key=lambda arm: type(value) is not arm):
        try:
            return read(value, arm, path, visit)
        except Mismatch as mismatch:
            if mismatch.path != path:  # the right collection with a wrong element
                raise
    raise Mismatch(" or ".join(dict.fromkeys(describe(arm) for arm in arms)), path, value)


def _collection(value: Any, annotation: Any, path: str, visit: Visit) -> Any:
    kind, arguments = get_origin(annotation) or annotation, get_args(annotation)
    is_kind = inspect.isclass(kind) and kind not in (type, str)
    if is_kind and issubclass(kind, Mapping) and isinstance(value, Mapping):
        item = arguments[1] if len(arguments) == 2 else Any
        return {key: read(v, item, f"{path}.{key}", visit) for key, v in value.items()}
    several = is_kind and (issubclass(kind, Sequence) or kind.__module__ == "collections.abc")
    if not several or issubclass(kind, Mapping) or not isinstance(value, list):
        raise Mismatch(describe(annotation), path, value)
    is_fixed = kind is tuple and arguments and arguments[-1] is not Ellipsis
    items = arguments if is_fixed else [arguments[0] if arguments else Any] * len(value)
    if len(items) != len(value):
        raise Mismatch(describe(annotation), path, value)
    pairs = enumerate(zip(value, items, strict=True))
    found = [read(v, item, f"{path}[{i}]", visit) for i, (v, item) in pairs]
    return tuple(found) if kind is tuple else found


def describe(annotation: Any) -> str:
    """An annotation as a message writes it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in PLAIN:
        return PLAIN[annotation]
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(arm) for arm in arguments))
    if origin is Literal:
        return f"one of {', '.join(shown(option) for option in arguments)}"
    kind = origin or annotation
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        return f"a list of {len(arguments)} values"
    if inspect.isclass(kind) and issubclass(kind, Mapping):
        return "a block of keys"
    if inspect.isclass(kind) and issubclass(kind, list | tuple | Sequence):
        return "a list"
    return f"a block with _target_ ({getattr(kind, '__name__', kind)})"


SPECIAL = ("_target_", "_partial_")
"""The keys of a node that are not arguments; Hydra's others select behaviour and are refused."""


def parameters(kind: type) -> dict[str, inspect.Parameter]:
    """The arguments of a constructor by name, with annotations as objects.

    `*args` and `**kwargs` are left out: what they take cannot be checked, so it cannot be given;
    and fields of a dataclass with `repr=False`, which only its own methods set.
    """
    own = {f.name for f in fields(kind) if not f.repr} if is_dataclass(kind) else set()
    found = inspect.signature(kind).parameters
    try:
        hints = typing.get_type_hints(kind.__init__)  # type: ignore[misc]
    except (NameError, TypeError):  # a name that exists for type checkers only
        hints = {}
    known = {}
    for name, parameter in found.items():
        if name not in own and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            hint = hints.get(name, parameter.annotation)
            known[name] = parameter.replace(annotation=Any if isinstance(hint, str) else hint)
    return known


CONTAINERS = ("builtins", "collections.abc")
"""Where the classes of numbers, texts and containers are."""


def admits(annotation: Any, kind: type, *, partial: bool = False, own: bool = False) -> bool:
    """Whether an annotation admits an instance of a class, or with `partial` a call that makes one.

    A position without a class, `Any` or a callable of no known result, admits only classes of the
    user (`own`): any class of unfold would be called there, whatever it does.
    """
    for arm in arms_of(annotation):
        expected = get_origin(arm) or arm
        is_callable = expected is Callable
        if is_callable:
            expected = (get_args(arm) or (Any,))[-1] if partial else Any
        if is_callable or not partial:
            fits = own
            if expected not in ANYTHING:  # a container, as a list or a number, has no `_target_`
                is_kind = inspect.isclass(expected) and expected.__module__ not in CONTAINERS
                fits = is_kind and issubclass(kind, expected)
            if fits:
                return True
    return False


def is_count(annotation: Any) -> bool:
    """Whether it takes whole numbers, one or several, and no others."""
    found = [kind for arm in arms_of(annotation) for kind in (get_args(arm) or (arm,))]
    return int in found and float not in found


def arms_of(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; the annotation itself where it is none."""
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return get_args(annotation) if is_union else (annotation,)
