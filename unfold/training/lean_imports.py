"""Lightning imports torchmetrics, and torchmetrics imports SciPy and Matplotlib if installed.

It needs them for audio metrics and plots only, and they are a fifth of the startup time.
"""

from lightning_utilities.core import imports

UNUSED = ("matplotlib", "scipy")


def import_torchmetrics() -> None:
    """Import torchmetrics as if the unused packages were missing; nothing else is affected."""
    installed, satisfied = imports.package_available, imports.RequirementCache.__bool__
    imports.package_available = lambda name: name not in UNUSED and installed(name)  # type: ignore[assignment]
    imports.RequirementCache.__bool__ = (  # type: ignore[method-assign]
        lambda self: self.requirement not in UNUSED and satisfied(self)
    )
    try:
        import torchmetrics  # noqa: F401
    finally:
        imports.package_available = installed
        imports.RequirementCache.__bool__ = satisfied  # type: ignore[method-assign]
