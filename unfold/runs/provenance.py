"""Where a run comes from: code, versions, machine, seeds, images and words."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import unfold
from unfold.runs.sources import source_hashes

PACKAGES = (
    "hydra-core",
    "lightning",
    "matplotlib",
    "numpy",
    "omegaconf",
    "pillow",
    "safetensors",
    "torch",
    "torchmetrics",
)

DIFF_LIMIT = 200_000
"""Characters of `git diff` that are kept."""


def provenance(
    *, overrides: Sequence[str], choices: Mapping[str, str], seed: int, fingerprint: str
) -> dict[str, Any]:
    """Everything needed to say what made a number, as plain data."""
    return {
        "version": _version("unfold"),
        "git": git_state(Path(unfold.__path__[0]).parent),
        "sources": dict(source_hashes()),
        "command": sys.argv,
        "overrides": list(overrides),
        "choices": dict(choices),
        "seed": seed,
        "data": fingerprint,
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": machine(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine() -> dict[str, Any]:
    """Python, PyTorch, processor and threads: what bit-identity depends on."""
    import torch

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor()
    lines = path.read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit, and what differs from it; None outside a checkout."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    diff = _git(folder, "diff", "HEAD", "--", "unfold", "configs") or ""
    return {
        "commit": commit.strip(),
        "branch": (_git(folder, "rev-parse", "--abbrev-ref", "HEAD") or "").strip(),
        "status": (_git(folder, "status", "--porcelain", "--", "unfold", "configs") or "").split(
            "\n"
        )[:-1],
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
