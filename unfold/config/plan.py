"""A checked configuration node: what to call with what, ready to be built."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import isabstract
from typing import Any

from unfold.errors import ConfigError, UnfoldError, contract
from unfold.runs.redact import redacted


@dataclass(frozen=True)
class Component:
    """A class and its converted arguments, which may hold components.

    With `partial` it is handed over with its arguments instead of being called.
    """

    path: str
    target: type
    arguments: Mapping[str, Any]
    partial: bool = False


def walk(plan: Any) -> Iterator[Component]:
    """Every component of a plan, outer ones first."""
    if isinstance(plan, Component):
        yield plan
        plan = plan.arguments
    inner = plan.values() if isinstance(plan, Mapping) else plan
    for value in inner if isinstance(inner, list | tuple) or isinstance(plan, Mapping) else ():
        yield from walk(value)


def instantiate(plan: Any) -> Any:
    """Build every component of a plan, the inner ones first."""
    if isinstance(plan, Component):
        arguments = {name: instantiate(value) for name, value in plan.arguments.items()}
        if plan.partial:
            return partial(plan.target, **arguments)
        return _call(plan, arguments)
    if isinstance(plan, Mapping):
        return {key: instantiate(value) for key, value in plan.items()}
    if isinstance(plan, list | tuple):
        return type(plan)(instantiate(value) for value in plan)
    return plan


def _call(plan: Component, arguments: Mapping[str, Any]) -> Any:
    if isabstract(kind := plan.target):
        raise ConfigError(f"{plan.path}: {kind.__name__} is incomplete. {contract(kind)}.")
    try:
        return plan.target(**arguments)
    except UnfoldError as error:
        raise type(error)(_placed(str(error), plan)) from error
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        shown = redacted(plan.arguments).items()
        given = ", ".join(f"{name}={value!r}" for name, value in shown)
        text = f"{plan.path}: {plan.target.__name__}({given}) refuses its values: {error}"
        raise ConfigError(text) from error


def _placed(text: str, plan: Component) -> str:
    """The message with the path instead of the class: `algo.stepsize = -1: must be …`."""
    own = f"{plan.target.__name__}."
    if text.startswith(own):
        return f"{plan.path}.{text.removeprefix(own)}"
    first, separator, _ = text.partition(" = ")
    if separator and first in plan.arguments:
        return f"{plan.path}.{text}"
    return f"{plan.path}: {text}"
