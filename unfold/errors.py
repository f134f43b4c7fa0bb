"""The errors unfold raises: each states what was expected, what was given, and what to do.

The exit code of the command line follows from the class:

====  ==========================================
code  meaning
====  ==========================================
1     a negative verdict of check or reproduce
2     configuration, or shapes found at start
3     data
4     not finite, or not converged
5     checkpoint
6     disk, lock, memory, environment
7     some jobs of a sweep failed
129   hang-up of the terminal (SIGHUP)
130   interrupted from the keyboard
138   warning of a scheduler (SIGUSR1, on Linux)
143   termination requested by the system (SIGTERM)
====  ==========================================
"""

import difflib
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar


def visible(text: str) -> str:
    """The text on one line: control characters, line breaks and surrogates as escapes."""
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if text.isprintable() else "".join(shown)


class UnfoldError(Exception):
    """Base of every error that is the user's to mend; its text is complete without a traceback.

    Args:
        lines: the text, or a heading and the problems below it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, *lines: str) -> None:
        super().__init__("\n  ".join(lines))
        self.lines = lines


class ConfigError(UnfoldError):
    """A key, a name or a value that cannot be meant."""

    exit_code = 2


class IncompatibleError(ConfigError):
    """Components that do not work together; named by class here, by option on the command line.

    Args:
        template: the text, with a field `{name}` for each component.
        components: the class of each field, or several alternatives.
    """

    def __init__(self, template: str, **components: type | Sequence[type]) -> None:
        self.template, self.components = template, components
        super().__init__(self.named(lambda component: component.__name__))

    def named(self, name: Callable[[type], str]) -> str:
        """The text with other names of the classes."""
        shown = {
            key: name(found) if isinstance(found, type) else listing({name(c) for c in found})
            for key, found in self.components.items()
        }
        return self.template.format(**shown) if shown else self.template


class ShapeError(UnfoldError):
    """A tensor whose shape, channels or dtype does not fit the operator or the network."""

    exit_code = 2


class DataError(UnfoldError):
    """A file or a folder of images that cannot be used; names the file."""

    exit_code = 3


class DataWarning(UserWarning):
    """Files that are left out, or read in a way that may not be meant; with figures."""


class NonFiniteError(UnfoldError):
    """A loss, an iterate or a gradient that is not finite."""

    exit_code = 4


class ConvergenceError(UnfoldError):
    """An iteration that was asked to converge and did not."""

    exit_code = 4


class CheckpointError(UnfoldError):
    """Weights or a training state that cannot be read, or belong to another model."""

    exit_code = 5


class RunError(UnfoldError):
    """A run directory that is locked, full or unusable."""

    exit_code = 6


class SweepError(UnfoldError):
    """A sweep in which some jobs failed."""

    exit_code = 7


class PreemptedError(UnfoldError):
    """A run that was asked to end, and saved what it needs to continue."""

    exit_code = 143


class InterruptedRunError(PreemptedError):
    """A run that was ended from the keyboard, and saved what it needs to continue."""

    exit_code = 130


def contract(kind: type, *names: str) -> str:
    """What a class of the user has to define: "Prior: define prox(v, weight) or grad(x)"."""
    base = next((one for one in kind.__mro__ if one.__module__.startswith("unfold.")), kind)
    required = names or sorted(getattr(kind, "__abstractmethods__", ()))
    found = [getattr(base, name, None) for name in required or ("prox", "grad")]
    given = {f.__name__: [*inspect.signature(f).parameters][1:] for f in found if callable(f)}
    calls = [f"{name}({', '.join(arguments)})" for name, arguments in given.items()]
    text = (", " if required else " or ").join(calls)
    return f"{base.__name__}: define {text}" if text else base.__name__


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The end of a sentence: ", did you mean 'x'?" for the nearest of `allowed`, "." if none is."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f", did you mean '{close[0]}'?" if close else "."


def listing(names: Iterable[str], most: int | None = None) -> str:
    """`names`, sorted and separated by commas, for the end of a message; at most so many."""
    found = sorted(names)
    left = len(found[most:]) if most else 0
    return (", ".join(found[:most]) or "none") + (f" and {left} more" if left else "")


def at_most(lines: Sequence[str], most: int = 10) -> list[str]:
    """The first lines of a long list, and how many more there are."""
    return [*lines[:most], *([f"and {len(lines) - most} more"] if len(lines) > most else [])]
