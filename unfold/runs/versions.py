"""Configurations of earlier versions, brought to the present one step at a time.

A run keeps the configuration that it was made with, and the words that made it. When a key is
renamed or changes its meaning, `SCHEMA_VERSION` rises by one, and the way from the version before
goes into `MIGRATIONS`: two pure functions, one of the configuration and one of the words. A key
that is new needs none of this: where it is missing, its default holds.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from unfold.errors import ConfigError

SCHEMA_VERSION = 1
"""Raised when a key is renamed or changes its meaning."""

KEY = "schema_version"


class Migration(NamedTuple):
    """The way from one version to the next.

    config: from the configuration before to the one after; it changes nothing that it is given.
    words: the same for the words of the command line.
    """

    config: Callable[[Mapping[str, Any]], dict[str, Any]]
    words: Callable[[Sequence[str]], tuple[str, ...]]


MIGRATIONS: Mapping[int, Migration] = {}
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


def renamed(names: Mapping[str, str]) -> Migration:
    """The way where keys have other names, or other places.

    Args:
        names: the full key after, by the full key before.
    """

    def config(before: Mapping[str, Any]) -> dict[str, Any]:
        after: dict[str, Any] = _copied(before)
        for old, new in names.items():
            found, value = _taken(after, old.split("."))
            if found:
                _put(after, new.split("."), value)
        return after

    def words(before: Sequence[str]) -> tuple[str, ...]:
        return tuple(_renamed_word(word, names) for word in before)

    return Migration(config, words)


def _copied(value: Any) -> Any:
    return {k: _copied(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _taken(node: dict[str, Any], path: Sequence[str]) -> tuple[bool, Any]:
    *folders, leaf = path
    for name in folders:
        inner = node.get(name)
        if not isinstance(inner, dict):
            return False, None
        node = inner
    return (True, node.pop(leaf)) if leaf in node else (False, None)


def _put(node: dict[str, Any], path: Sequence[str], value: Any) -> None:
    *folders, leaf = path
    for name in folders:
        node = node.setdefault(name, {})
    node[leaf] = value


def _renamed_word(word: str, names: Mapping[str, str]) -> str:
    key, separator, value = word.partition("=")
    bare = key.lstrip("+~")
    for old, new in names.items():
        if bare == old or bare.startswith(f"{old}."):
            sign = key[: len(key) - len(bare)]
            return f"{sign}{new}{bare.removeprefix(old)}{separator}{value}"
    return word
