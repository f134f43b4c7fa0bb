"""Configurations of earlier versions, brought to the present one step at a time.

A run keeps the configuration that it was made with, and the words that made it. When a key is
renamed or changes its meaning, `SCHEMA_VERSION` rises by one, and the way from the version before
goes into `MIGRATIONS`: two pure functions, one of the configuration and one of the words. A key
that is new needs none of this: where it is missing, its default holds.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from unfold.errors import ConfigError
from unfold.runs.migration import Migration, in_turn, moved, renamed

SCHEMA_VERSION = 2
"""Raised when a key is renamed or changes its meaning."""

KEY = "schema_version"

GRADIENTS = "unfold.models.equilibrium_gradient"

MIGRATIONS: Mapping[int, Migration] = {
    # The first day: solvers and gradients of equilibria got files of their own.
    1: in_turn(
        moved(
            {
                "unfold.solvers.fixed_point.Anderson": "unfold.solvers.anderson.Anderson",
                "unfold.models.deq.Implicit": f"{GRADIENTS}.Implicit",
                "unfold.models.deq.JacobianFree": f"{GRADIENTS}.JacobianFree",
                "unfold.models.deq.Neumann": f"{GRADIENTS}.Neumann",
                "unfold.models.deq.Phantom": f"{GRADIENTS}.Phantom",
            }
        ),
        renamed({"model.backward.on_failure": "model.backward.on_divergence"}),
    ),
}
"""By the version that each starts from."""


class Versioned(NamedTuple):
    """A configuration of the present version, and the words that make it."""

    config: dict[str, Any]
    words: tuple[str, ...]


def migrate(
    config: Mapping[str, Any],
    words: Sequence[str],
    source: str,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    present: int = SCHEMA_VERSION,
) -> Versioned:
    """Bring a configuration and its words to the present version.

    Args:
        config: as it was stored; without a version it is of the first one.
        words: that made it.
        source: where it was stored, for the message.
        migrations: the ways there are.
        present: the version to reach.

    Raises:
        ConfigError: it is of a later version, or of none that can be.
    """
    if not config:
        return Versioned({}, tuple(words))  # it ended before it wrote anything
    version = config.get(KEY, 1)
    if type(version) is not int or version < 1:
        raise ConfigError(f"{source}: {KEY} = {version}: must be a whole number, 1 or above.")
    if version > present:
        raise ConfigError(
            f"{source}: {KEY} = {version}: written by a later unfold; this one reads {present} and "
            "before. Install a newer unfold."
        )
    found = Versioned(dict(config), tuple(words))
    for step in range(version, present):
        way = migrations[step]
        found = Versioned(
            way.config(found.config) | {KEY: step + 1},
            tuple(_at_version(way.words(found.words), step + 1)),
        )
    return found


def _at_version(words: Sequence[str], version: int) -> list[str]:
    """The words, with the version that one of them may name."""
    return [f"{KEY}={version}" if word.startswith(f"{KEY}=") else word for word in words]
