"""The overrides of a command line, and the mistakes in them."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException

from unfold.config import options
from unfold.config.errors import Problem
from unfold.config.targets import admit
from unfold.errors import ConfigError, listing, nearest

HONOURED = ("hydra.searchpath", "hydra.sweeper.params", "hydra.verbose")
"""The keys of Hydra that act here; the rest of Hydra's job handling is not used."""


def parse_override(text: str) -> Override:
    """One override in Hydra's grammar."""
    return OverridesParser.create().parse_overrides([text])[0]


def key_of(text: str) -> str:
    """The key of an override without `+`, `++` or `~`; the text itself where it cannot be read."""
    try:
        return str(parse_override(text).key_or_group)
    except HydraException:
        return text.partition("=")[0].lstrip("+~")


def address_of(text: str) -> str:
    """The key of an override with the place where a group puts its option: `physics@physics.a`."""
    try:
        override = parse_override(text)
    except HydraException:
        return key_of(text)
    return f"{override.key_or_group}@{override.package}" if override.package else key_of(text)


def separate(
    overrides: Sequence[str], *, multirun: bool, folders: Sequence[Path]
) -> tuple[tuple[str, ...], list[Problem]]:
    """The overrides that can be composed, and the mistakes of the others that show before."""
    sound: dict[str, str] = {}
    problems = list(_repeated(overrides))
    for text in overrides:
        problem = _of_one(text, multirun=multirun, folders=folders)
        if problem is not None:
            problems.append(problem)
        else:
            sound.setdefault(address_of(text), text)
    return tuple(sound.values()), problems


def _repeated(overrides: Sequence[str]) -> Iterator[Problem]:
    for key, count in Counter(address_of(text) for text in overrides).items():
        if count > 1:
            given = [text for text in overrides if address_of(text) == key]
            values = ", ".join(text.partition("=")[2] for text in given)
            yield Problem(key, None, f"given {count} times ({values}). Give it once.")


def _of_one(text: str, *, multirun: bool, folders: Sequence[Path]) -> Problem | None:
    try:
        override = parse_override(text)
    except HydraException:
        return Problem(
            text, None, f"cannot be read as key=value: {why_unreadable(text)}. Close every bracket "
            "and quote, and put quotes around values with spaces, commas or '='."
        )  # fmt: skip
    key, _, value = text.partition("=")
    name = str(override.key_or_group)
    if not name:
        return Problem(text, None, "has no key. Settings are written key=value.")
    if not value.strip() and not override.is_delete():
        return Problem(key, "''", f"no value given. Write {key}=VALUE, or {key}=null for none.")
    if name.startswith(("hydra.", "hydra/")) and not name.startswith(HONOURED):
        allowed = ", ".join(HONOURED)
        why = "unfold makes run folders and starts jobs by itself (see runs_dir)"
        return Problem(name, value, f"has no effect: {why}. Allowed: {allowed}.")
    options_here = options.names(name, folders)
    if isinstance(override.value(), list) and options_here:
        allowed = f"Allowed: {', '.join(options_here)}."
        return Problem(key, value, f"one option is expected, got a list. {allowed}")
    if override.is_sweep_override() and not multirun:
        remedy = f"Add -m to run each of them, or write {key}=[{value}] for one list."
        return Problem(key, value, f"several values. {remedy}")
    return None


CLOSES = {"[": "]", "{": "}", "(": ")", "'": "'", '"': '"'}
"""What opens a group in an override, and what closes it."""


def why_unreadable(text: str) -> str:
    """What keeps an argument from being read as key=value, and at which column, from 1."""
    open_ones: list[tuple[str, int]] = []
    escaped = False
    for column, sign in enumerate(text, 1):
        last = open_ones[-1][0] if open_ones else ""
        if last and sign == CLOSES[last] and not escaped:
            open_ones.pop()
        elif last in ("'", '"'):
            pass
        elif sign in ("]", "}", ")"):
            return f"the {sign} at column {column} closes nothing"
        elif sign in CLOSES and not escaped:
            open_ones.append((sign, column))
        escaped = sign == "\\" and not escaped
    if open_ones:
        return "the {} at column {} is not closed".format(*open_ones[-1])
    if "=" not in text:
        return "it has no ="
    second = text.find("=", text.find("=") + 1)
    if second > 0:
        return f"there is another = at column {second + 1}"
    odd = re.search(r"[^\w.,:@/+~=\[\]{}()'\"$?*|%\\-]", text)
    return f"column {odd.start() + 1} has {odd[0]!r}" if odd else "it is not of that form"


def trusted(overrides: Sequence[str]) -> tuple[str, ...]:
    """The packages of `trust=[...]` on the command line, which can be imported from now on."""
    for text in overrides:
        if key_of(text) != "trust":
            continue
        value = parse_override(text).value()
        names = value if isinstance(value, list) else [value]
        if not all(isinstance(name, str) and name.isidentifier() for name in names):
            raise ConfigError(f"{text}: a list of package names is expected, trust=[mypackage].")
        admit(list(map(str, names)))
        return tuple(names)
    return ()


def explain(
    error: Exception, overrides: Sequence[str], folders: Sequence[Path]
) -> tuple[Problem, str | None]:
    """Hydra's exception as a problem, and the override that made it (None where a file did)."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        group, _, name = str(error.missing_cfg_file).lstrip("/").rpartition("/")
        culprit = next((o for o in overrides if key_of(o) == group), None)
        allowed = error.options or options.names(group, folders)
        return no_option(group or "configuration", name, allowed), culprit
    for override in overrides:
        key, value = key_of(override), override.partition("=")[2]
        allowed = options.names(key, folders)
        if allowed and value not in allowed and not override.startswith("~"):
            return no_option(key, value, allowed), override
    text = options.first_line(error.__cause__ or error)
    # The longest key: that of a group is in the text of every key of its options.
    named = [o for o in overrides if key_of(o) in f"{error}{error.__cause__}"]
    culprit = max(named, key=lambda o: len(key_of(o)), default=None)
    if culprit and culprit.startswith("~") and "does not exist" in text:
        text = "there is no such key to delete. Leave it out, or name one of the configuration."
    return Problem(culprit or "configuration", None, text), culprit


def no_option(group: str, name: str, allowed: Sequence[str]) -> Problem:
    """What is wrong with a name that no option of a group has."""
    near = nearest(name, allowed)
    return Problem(group, name, f"no such option{near} Allowed: {listing(allowed)}.")


def unknown(full_key: str, known: Sequence[str], folders: Sequence[Path]) -> str:
    """What to say of a key that does not exist: its owner or the nearest one, and the list."""
    group, *rest = full_key.split(".")
    near = nearest(full_key.rpartition(".")[2], known)
    belongs = options.owners(group, rest, folders) if rest else []
    if belongs and not near.startswith(f", did you mean '{rest[-1]}'"):
        near = f", '{rest[-1]}' belongs to {' and '.join(belongs[:3])}."
    return f"unknown key{near} Allowed: {listing(known)}."


def why_unresolved(text: str) -> str:
    """Why a reference such as ${oc.env:NAME} has no value by OmegaConf's error; what to do."""
    if variable := re.search(r"Environment variable '(.*?)' not found", text):
        name = variable[1]
        return (
            f"the environment variable {name} is not set. Set it, or write "
            f"${{oc.env:{name},VALUE}} for a default."
        )
    if key := re.search(r"Interpolation key '(.*?)' not found", text):
        return (
            f"cannot be resolved: the configuration has no key {key[1]}. Name one in full, from "
            "the top, as ${trainer.max_steps}."
        )
    reason = text.splitlines()[0] if text else "it has no value"
    return f"cannot be resolved: {reason.removesuffix('.')}."
