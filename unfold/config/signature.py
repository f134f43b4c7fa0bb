"""What a class asks for: its arguments with their annotations, and the classes they admit."""

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

ANYTHING = (Any, object, inspect.Parameter.empty)
"""Annotations that admit every value."""


def parameters(kind: type) -> dict[str, inspect.Parameter]:
    """The arguments of a constructor by name, with annotations as objects.

    `*args` and `**kwargs` are left out: what they take cannot be checked, so it cannot be given.
    """
    found = inspect.signature(kind).parameters
    try:
        hints = typing.get_type_hints(kind.__init__)  # type: ignore[misc]
    except (NameError, TypeError):  # a name that exists for type checkers only
        hints = {}
    return {
        name: parameter.replace(annotation=_hint(hints.get(name, parameter.annotation)))
        for name, parameter in found.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


def _hint(annotation: Any) -> Any:
    return Any if isinstance(annotation, str) else annotation


def admits(annotation: Any, kind: type) -> bool:
    """Whether an annotation admits an instance of a class."""
    arms = [typing.get_origin(arm) or arm for arm in arms_of(annotation)]
    if any(arm in ANYTHING or arm is Callable or arm is _CALLABLE for arm in arms):
        return True
    return issubclass(kind, tuple(arm for arm in arms if inspect.isclass(arm)))


_CALLABLE = typing.get_origin(Callable[..., Any])


def arms_of(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; the annotation itself where it is none."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if is_union else (annotation,)
