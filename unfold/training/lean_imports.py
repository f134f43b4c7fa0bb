"""Lightning imports torchmetrics, and torchmetrics imports SciPy and Matplotlib if installed.

It needs them for audio metrics and plots only, and they are a fifth of the startup time.
"""

from importlib import import_module
from typing import Any

UNUSED = ("matplotlib", "scipy")


def import_torchmetrics() -> None:
    """Import torchmetrics as if the unused packages were missing; nothing else is affected.

    Where lightning-utilities decides in another way what is installed, all is imported.
    """
    try:
        imports: Any = import_module("lightning_utilities.core.imports")
        cache = imports.RequirementCache
        installed, satisfied = imports.package_available, cache.__bool__
    except (ImportError, AttributeError):
        import_module("torchmetrics")
        return
    imports.package_available = lambda name: name not in UNUSED and installed(name)
    cache.__bool__ = lambda self: (
        getattr(self, "requirement", None) not in UNUSED and satisfied(self)
    )
    try:
        import_module("torchmetrics")
    finally:
        imports.package_available, cache.__bool__ = installed, satisfied
