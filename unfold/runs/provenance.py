"""Where a run comes from: words, code, versions, machine, seeds and images."""

import hashlib
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import unfold
from unfold.random import SCHEME
from unfold.runs.environment import PACKAGES, build, freeze, machine, version
from unfold.runs.secrets import redacted_word, redacted_words
from unfold.runs.sources import source_hashes

DIFF_LIMIT = 200_000
"""Characters of `git diff` that are kept."""

LIST_LIMIT = 1000
"""Names that are kept of a list of files; their number and hash are of all."""


class Made(NamedTuple):
    """What a run is made from.

    overrides: the words of the command line.
    choices: the option of each group.
    folders: of the user's own options.
    seed: of the run.
    fingerprint: of the images.
    shapes: the name and the shape of every image of each split.
    weights: the SHA-256 of the trained weights that it starts from, by key.
    """

    overrides: Sequence[str]
    choices: Mapping[str, str]
    folders: Sequence[Path]
    seed: int
    fingerprint: str
    shapes: Mapping[str, Sequence[tuple[str, tuple[int, ...]]]]
    weights: Mapping[str, str]


def provenance(made: Made) -> dict[str, Any]:
    """Everything needed to say what made a number, as plain data."""
    return {
        "version": version("unfold"),
        "git": git_state(Path(unfold.__path__[0]).parent),
        "sources": dict(source_hashes()),
        "command": redacted_words(sys.argv),
        "overrides": redacted_words(made.overrides),
        "given_by": {redacted_word(word): _giver(word) for word in made.overrides},
        "choices": dict(made.choices),
        "folders": {str(folder): _options(folder) for folder in made.folders},
        "seed": made.seed,
        "streams": {"scheme": SCHEME, "seed": made.seed},
        "data": made.fingerprint,
        "images": {split: summary(images) for split, images in made.shapes.items()},
        "weights": dict(made.weights),
        "packages": {name: version(name) for name in PACKAGES},
        "freeze": freeze(),
        "build": build(),
        "machine": machine(),
    }


def _giver(word: str) -> str:
    return "command line" if redacted_word(word) in redacted_words(sys.argv) else "sweep"


def _options(folder: Path) -> dict[str, str]:
    """The SHA-256 of the files of a folder of options."""
    files = sorted(folder.rglob("*.yaml"))[:LIST_LIMIT]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def summary(images: Sequence[tuple[str, tuple[int, ...]]]) -> dict[str, Any]:
    """How many images a split has, of which sizes, and which they are."""
    names = [name for name, _ in images]
    sizes = Counter("x".join(map(str, shape)) for _, shape in images)
    return {
        "count": len(images),
        "sizes": dict(sorted(sizes.items())),
        "ids": names[:LIST_LIMIT],
        "ids_sha256": hashlib.sha256("\n".join(names).encode()).hexdigest(),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit, and what differs from it; None outside a checkout."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    diff = _git(folder, "diff", "HEAD", "--", "unfold", "configs") or ""
    state = (_git(folder, "status", "--porcelain", "--", "unfold", "configs") or "").splitlines()
    untracked = [line[3:] for line in state if line.startswith("??")]
    return {
        "commit": commit.strip(),
        "branch": (_git(folder, "rev-parse", "--abbrev-ref", "HEAD") or "").strip(),
        "dirty": bool(state),
        "status": state[:LIST_LIMIT],
        "untracked": untracked[:LIST_LIMIT],
        "diff": diff[:DIFF_LIMIT],
        "diff_is_whole": len(diff) <= DIFF_LIMIT,
    }


def _git(folder: Path, *arguments: str) -> str | None:
    if not (folder / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
