"""Ways from one version of a configuration to the next: pure functions of it and of its words."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Migration(NamedTuple):
    """The way from one version to the next.

    config: from the configuration before to the one after; it changes nothing that it is given.
    words: the same for the words of the command line.
    """

    config: Callable[[Mapping[str, Any]], dict[str, Any]]
    words: Callable[[Sequence[str]], tuple[str, ...]]


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


def moved(targets: Mapping[str, str]) -> Migration:
    """The way where classes have other names, or other modules.

    Args:
        targets: the path of the class after, by the path before.
    """

    def config(before: Mapping[str, Any]) -> dict[str, Any]:
        return {key: _found_again(value, targets) for key, value in before.items()}

    def words(before: Sequence[str]) -> tuple[str, ...]:
        pairs = [word.partition("=") for word in before]
        return tuple(
            f"{key}{equals}{targets.get(value, value) if key.endswith('_target_') else value}"
            for key, equals, value in pairs
        )

    return Migration(config, words)


def _found_again(value: Any, targets: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {
            k: targets.get(v, v) if k == "_target_" else _found_again(v, targets)
            for k, v in value.items()
        }
    return [_found_again(v, targets) for v in value] if isinstance(value, list) else value


def in_turn(*ways: Migration) -> Migration:
    """The way where several things happened: each on what the one before has left."""

    def config(before: Mapping[str, Any]) -> dict[str, Any]:
        after = dict(before)
        for way in ways:
            after = way.config(after)
        return after

    def words(before: Sequence[str]) -> tuple[str, ...]:
        after = tuple(before)
        for way in ways:
            after = way.words(after)
        return after

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
