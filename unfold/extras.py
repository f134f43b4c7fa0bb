"""Optional packages, imported when a component that needs them is built."""

import importlib
from types import ModuleType
from typing import Any

import torch

from unfold.errors import ConfigError

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[Any] = []


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

    Args:
        package: its name.
        extra: of unfold, `pip install 'unfold[extra]'`.

    Raises:
        ConfigError: it is not installed, or something that it needs is not.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        version = torch.__version__.split("+")[0]
        raise ConfigError(
            f"needs the package '{error.name}', which is not installed: "
            f"pip install 'unfold[{extra}]' torch=={version}"
        ) from error


def _declare_torchvision() -> None:
    """Declare the two compiled operators that the import of torchvision requires.

    Its binaries from the package index do not load with a CPU-only build of torch;
    nothing that unfold uses calls them.
    """
    if not _declared:
        library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for schema in _SCHEMAS:
            library.define(schema)
        _declared.append(library)  # the operators live as long as the library does
