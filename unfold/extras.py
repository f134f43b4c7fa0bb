"""Optional packages, imported when a component that needs them is built."""

import importlib
from types import ModuleType
from typing import Any

from unfold.errors import ConfigError

DISTRIBUTION = "unfold-imaging"
"""The name to install by; `unfold` on the public index is another project."""

PUBLISHED = False
"""Whether the distribution is on the public index; else extras come from a checkout."""

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[Any] = []


def install_command(extra: str) -> str:
    """How to install an extra of this package."""
    return f"pip install '{DISTRIBUTION}[{extra}]'" if PUBLISHED else f"pip install -e '.[{extra}]'"


def deepinv() -> ModuleType:
    """The package deepinv.

    Raises:
        ConfigError: it is not installed, or cannot be imported.
    """
    try:
        return optional("deepinv", "deepinv")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _declare_torchvision()
        return optional("deepinv", "deepinv")


def optional(package: str, extra: str) -> ModuleType:
    """Import a package that an extra of unfold brings.

    Raises:
        ConfigError: it is not installed, or something that it needs is not.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        import torch

        version = torch.__version__.split("+")[0]
        raise ConfigError(
            f"needs the package '{error.name}', which is not installed: "
            f"{install_command(extra)} torch=={version}"
        ) from error


def _declare_torchvision() -> None:
    """Declare the two compiled operators that the import of torchvision requires.

    Its published binaries do not load with a CPU-only torch; nothing that unfold uses calls them.
    """
    import torch

    if not _declared:
        library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for schema in _SCHEMAS:
            library.define(schema)
        _declared.append(library)  # the operators live as long as the library does
