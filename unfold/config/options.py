"""The options of the groups, as files: what there is, what they hold, and where a key stands."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import unfold
from unfold.config.errors import Problem, as_problem
from unfold.config.schema import NAMED
from unfold.disk import odd_entries
from unfold.errors import ConfigError, RunError
from unfold.runs.files import parse_yaml


def package_folder() -> Path:
    """The folder of the package itself."""
    return Path(unfold.__path__[0]).resolve()


def configs_folder() -> Path:
    """The folder of `train.yaml`: in the package in a wheel, next to the package in a checkout."""
    package = package_folder()
    places = (package / "configs", package.parent / "configs")
    for place in places:
        if (place / "train.yaml").is_file():
            return place
    looked = " and ".join(str(place) for place in places)
    raise RunError(f"The configuration files are missing: looked in {looked}. Reinstall unfold.")


def names(group: str, folders: Sequence[Path]) -> list[str]:
    """The options of a group in all folders, sorted; none where it is no group."""
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def owners(group: str, keys: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The options of a group whose file has this key, written as on the command line."""
    return [f"{group}={name}" for name in names(group, folders) if _has(group, name, keys, folders)]


def _has(group: str, name: str, keys: Sequence[str], folders: Sequence[Path]) -> bool:
    node: Any = None
    for folder in folders:
        if (path := folder / group / f"{name}.yaml").is_file():
            node = read(path)
            break
    for key in keys:
        if not isinstance(node, dict) or key not in node:
            return False
        node = node[key]
    return True


def read(path: Path) -> Any:
    """The content of a file as plain data."""
    try:
        return parse_yaml(path)
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        text = f"is not YAML in UTF-8: {first_line(error)}. Mend it, or save it as UTF-8."
        raise ConfigError(f"{path}: {text}") from error


def first_line(error: BaseException) -> str:
    """The text of another library's error, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def where(key: str, choices: Mapping[str, str], folders: Sequence[Path]) -> str:
    """Where a key was written, as " (FILE:LINE)"; nothing where no file has it."""
    group, *rest = key.split(".")
    leaf = re.sub(r"\[\d+\]$", "", (rest or [group])[-1])
    pattern = re.compile(rf"^[\s-]*(?:.*[{{,]\s*)?['\"]?{re.escape(leaf)}['\"]?\s*:")
    for path in _files(group, choices, folders):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if pattern.match(line):
                return f" ({'/'.join(path.parts[-3:])}:{number})"
    return ""


def _files(group: str, choices: Mapping[str, str], folders: Sequence[Path]) -> Iterator[Path]:
    candidates = [(name, choices.get(name)) for name in (*reversed(NAMED), group)]
    for folder in folders:
        for name, choice in candidates:
            if choice and (path := folder / name / f"{choice}.yaml").is_file():
                yield path


def faults(own: Sequence[Path], packaged: Path) -> Iterator[Problem]:
    """What is wrong with the user's folders of options before any file of them is composed.

    A link may lead to another file of its folder only; a file, at any depth, that has the name of a
    packaged one would be ignored.
    """
    for folder in own:
        if set('"\\$') & set(str(folder)):
            yield Problem("--config-dir", str(folder), "has a quote, backslash or $. Rename it.")
        for path in odd_entries(folder):
            if not (path.is_symlink() and path.exists() and folder in path.resolve().parents):
                text = "is a pipe, a device or a link out of the folder of options. Remove it."
                yield Problem(str(path), None, text)
        for path in filter(Path.is_file, sorted(folder.rglob("*.yaml"))):
            inside = path.relative_to(folder)
            try:  # before Hydra, which unfolds all aliases
                read(path.resolve())
            except ConfigError as error:
                yield as_problem(error)
            if (packaged / inside).is_file():
                yield Problem(
                    str(inside), None, f"has the name of a packaged option, which would be used "
                    f"instead. Rename it, e.g. {path.stem}_mine.yaml."
                )  # fmt: skip
