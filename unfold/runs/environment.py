"""What bits depend on beside the code: packages, builds, processor, threads and flags."""

import hashlib
import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

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
    """How Python and PyTorch were built, and with which libraries."""
    import torch

    config = torch.__config__.show()
    blas = re.search(r"BLAS_INFO=(\w+)", config)
    return {
        "python": platform.python_build(),
        "torch": torch.__version__,
        "git": getattr(torch.version, "git_version", None),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "blas": blas[1] if blas else "unknown",
        "config": config,
    }


def flags() -> dict[str, Any]:
    """What PyTorch is asked for at this moment that decides whether bits repeat."""
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
