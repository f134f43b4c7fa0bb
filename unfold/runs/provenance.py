"""What a run is made from: overrides, code, versions, machine, seeds, images; and every start."""

import hashlib
import importlib.metadata
import os
import platform
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import unfold
from unfold.errors import PreemptedError, RunError
from unfold.random import SCHEME
from unfold.runs import files
from unfold.runs.files import ORIGIN
from unfold.runs.identity import hashes, unequal
from unfold.runs.redact import redacted_overrides

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
"""Those that are shown; `freeze` has all."""


def version(package: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    """Of Python, and of the packages that are shown."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def freeze() -> dict[str, Any]:
    """Every installed package, and one hash of all, as `pip freeze` would list them."""
    found = {f"{d.name}=={d.version}" for d in importlib.metadata.distributions()}
    packages = sorted(found, key=str.lower)
    digest = hashlib.sha256("\n".join(packages).encode()).hexdigest()
    return {"packages": packages, "sha256": digest}


def machine() -> dict[str, Any]:
    """The processor, the devices and the threads, with the versions that drive them."""
    import torch

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "driver": _driver(),
    }


def build() -> dict[str, Any]:
    """How PyTorch was built, and with which libraries."""
    import torch

    config = torch.__config__.show()
    blas = re.search(r"BLAS_INFO=(\w+)", config)
    return {
        "torch": torch.__version__,
        "git": getattr(torch.version, "git_version", None),
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "blas": blas[1] if blas else "unknown",
        "config": config,
    }


def flags() -> dict[str, Any]:
    """The current settings of PyTorch that decide whether runs are bit-identical."""
    import torch

    return {
        "use_deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cublas_workspace_config": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        "threads": torch.get_num_threads(),
    }


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor()
    lines = path.read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _driver(path: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """The version of NVIDIA's driver; None where there is none."""
    found = re.search(r"\s(\d+\.\d[\d.]*)\s", path.read_text()) if path.is_file() else None
    return found[1] if found else None


DIFF_LIMIT = 200_000
"""Characters of `git diff` that are kept."""

LIST_LIMIT = 1000
"""Names that are kept of a list of files; their number and hash are of all."""


def provenance(
    *,
    overrides: Sequence[str],
    choices: Mapping[str, str],
    folders: Sequence[Path],
    seed: int,
    fingerprint: str,
    shapes: Mapping[str, Sequence[tuple[str, tuple[int, ...]]]],
    weights: Mapping[str, str],
    pixels: Mapping[str, str],
) -> dict[str, Any]:
    """Everything that determines the scores, as plain data.

    `shapes` has the name and the shape of every image of each split, `pixels` the SHA-256 of its
    images, whatever their names, and `weights` that of the weights that it starts from, by key.
    """
    typed = redacted_overrides(sys.argv)
    given = redacted_overrides(overrides)
    return {
        "version": unfold.__version__,
        "git": git_state(Path(unfold.__path__[0]).parent),
        "command": typed,
        "overrides": given,
        "given_by": {text: "command line" if text in typed else "sweep" for text in given},
        "choices": dict(choices),
        "folders": {str(folder): hashes(folder, (".yaml",)) for folder in folders},
        "seed": seed,
        "streams": {"scheme": SCHEME, "seed": seed},
        "data": fingerprint,
        "images": {split: summary(images) for split, images in shapes.items()},
        "pixels": dict(pixels),
        "weights": dict(weights),
        "packages": versions(),
        "freeze": freeze(),
        "build": build(),
        "machine": machine(),
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


LATEST = ("config", "overrides", "given_by", "folders", "sources")
"""Entries that always describe the last start."""


def begin(directory: Path, origin: Mapping[str, Any], resumed: Path | None) -> None:
    """Write what a run is made from, or add a start to it; `resumed` is its checkpoint.

    The entries of the first start stay, except those in `LATEST`. Every start keeps its overrides,
    and one whose sources differ keeps their former hashes.
    """
    path = directory / ORIGIN
    first = files.optional(path)
    starts = first.get("attempts", [])
    before = [start | {"outcome": start["outcome"] or "killed"} for start in starts]
    attempt = _started(resumed, origin, first.get("sources", origin["sources"]))
    base = dict(first) if resumed and first else dict(origin)
    latest = {key: origin[key] for key in LATEST}
    files.write_json(path, base | latest | {"attempts": [*before, attempt]})


def _started(
    resumed: Path | None, origin: Mapping[str, Any], sources: Mapping[str, str]
) -> dict[str, Any]:
    machine, git = origin["machine"], origin["git"] or {}
    return {
        "command": redacted_overrides(sys.argv),
        "overrides": origin["overrides"],
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "machine": machine,
        "threads": machine["threads"],
        "commit": git.get("commit"),
        "packages": origin["packages"],
        "packages_sha256": origin["freeze"]["sha256"],
        "continues": resumed.name if resumed else None,
        "changed_sources": {n: sources.get(n) for n in unequal(sources, origin["sources"])},
        "started": _now(),
        "ended": None,
        "outcome": None,
    }


@contextmanager
def recorded(directory: Path) -> Iterator[dict[str, float]]:
    """Write how the body ended, and the scores that it fills in."""
    scores: dict[str, float] = {}
    try:
        yield scores
    except BaseException as error:
        state = "preempted" if isinstance(error, PreemptedError) else "failed"
        with suppress(RunError):  # the disk may be what failed
            _end(directory, f"{state}: {' '.join(str(error).split()) or type(error).__name__}")
        raise
    _end(directory, "finished", results=scores)


def _end(directory: Path, outcome: str, **more: Any) -> None:
    path = directory / ORIGIN
    origin = files.read_json(path)
    *before, last = origin["attempts"]
    ended = last | {"ended": _now(), "outcome": outcome}
    content = {"attempts": [*before, ended], "deterministic": flags()}
    files.write_json(path, origin | content | more)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
