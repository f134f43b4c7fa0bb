"""Which objects a `_target_` may name: the resolved object decides, not the spelling.

A name is looked up only where its package is unfold, or one that the command line trusts, or where
the whole name is on the list below. What is found must be a public class that is defined where it
is said to be: an alias such as `unfold.algorithms.pgd.torch.hub.load` is refused.
"""

import importlib
import inspect
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from unfold.errors import ConfigError, nearest

COMPONENTS = frozenset(
    {
        *("algorithms", "data", "denoisers", "evaluation", "fidelities"),
        *("initialization", "launchers", "models", "parameters", "physics", "priors", "solvers"),
        "training",
    }
)
"""The parts of unfold whose classes a configuration may name."""

THIRD_PARTY = frozenset(
    {
        "torch.nn.HuberLoss",
        "torch.nn.L1Loss",
        "torch.nn.MSELoss",
        "torch.nn.SmoothL1Loss",
        "torch.optim.Adam",
        "torch.optim.AdamW",
        "torch.optim.RMSprop",
        "torch.optim.SGD",
        "torch.optim.lr_scheduler.CosineAnnealingLR",
        "torch.optim.lr_scheduler.ExponentialLR",
        "torch.optim.lr_scheduler.MultiStepLR",
        "torch.optim.lr_scheduler.OneCycleLR",
        "torch.optim.lr_scheduler.ReduceLROnPlateau",
        "torch.optim.lr_scheduler.StepLR",
        "torchmetrics.MeanAbsoluteError",
        "torchmetrics.MeanSquaredError",
        "torchmetrics.NormalizedRootMeanSquaredError",
        "torchmetrics.image.MultiScaleStructuralSimilarityIndexMeasure",
        "torchmetrics.image.PeakSignalNoiseRatio",
        "torchmetrics.image.StructuralSimilarityIndexMeasure",
        "torchmetrics.image.UniversalImageQualityIndex",
    }
)
"""Classes of other packages, each by the one name under which it may be given."""

ADAPTED = ("deepinv.physics", "deepinv.models", "monai.networks.nets")
"""Packages of which a configuration may name the operators, generators and networks."""


class Own:
    """Finds trusted packages in the folders where they were trusted, which are not searched."""

    folders: ClassVar[dict[str, str]] = {}

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [cls.folders[name]]) if name in cls.folders else None


def admit(names: Sequence[str]) -> None:
    """Let ./NAME be imported, for trusted names; a `ConfigError` where Python finds another one."""
    importlib.invalidate_caches()
    sys.meta_path[:] = [*(one for one in sys.meta_path if one is not Own), Own]
    for name in names:
        Own.folders.pop(name, None)
        if (own := PathFinder.find_spec(name, [str(Path.cwd())])) is None:
            continue
        found = [one.find_spec(name, None) for one in sys.meta_path]
        found.append(getattr(sys.modules.get(name), "__spec__", None))
        if others := {place for spec in found for place in _places(spec)} - _places(own):
            both = f"{', '.join(_places(own))} and {', '.join(others)}"
            raise ConfigError(f"trust = [{name}]: is {both}. Rename yours, or leave its folder.")
        Own.folders[name] = str(Path.cwd())


def _places(spec: ModuleSpec | None) -> set[str]:
    """The file of a package, or its folders where it has none."""
    folders = spec and ((spec.has_location and [spec.origin]) or spec.submodule_search_locations)
    return {str(Path(str(place)).resolve()) for place in folders or ()}


def resolve(target: str, trust: Sequence[str] = ()) -> type:
    """The class that a `_target_` names; `trust` are packages trusted on the command line.

    Raises:
        ConfigError: the name is not allowed, or leads nowhere.
    """
    _refuse_foreign(target, trust)
    module, name = _import(target)
    if (found := getattr(module, name, None)) is None:
        near = nearest(name, public(module))
        raise ConfigError(f"{module.__name__} has no class '{name}'{near}")
    if not inspect.isclass(found):
        raise ConfigError(f"names a {type(found).__name__}; a class is expected.")
    if _is_adapted(target):
        _refuse_unadapted(found, target)
    elif target not in THIRD_PARTY:
        _refuse_alias(found, (*trust, "unfold"))
    return found


def _refuse_foreign(target: str, trust: Sequence[str]) -> None:
    parts = target.split(".")
    if not all(part.isidentifier() for part in parts) or len(parts) < 2:
        raise ConfigError(
            "is not a module path with a class name, such as unfold.physics.blur.blur.Blur."
        )
    if any(part.startswith("_") for part in parts):
        raise ConfigError("is private; only public components may be named.")
    if target in THIRD_PARTY or parts[0] in trust or _is_adapted(target):
        return
    if parts[0] != "unfold" or parts[1] not in COMPONENTS:
        remedy = f" If you trust the package, add trust=[{parts[0]}] to the command line."
        if parts[0] in sys.stdlib_module_names or parts[0] == "unfold":
            remedy = _by_path(parts)
        raise ConfigError(
            "is not a component of unfold, nor on the list of allowed classes of other packages."
            + remedy
        )


def _by_path(parts: Sequence[str]) -> str:
    """Where the class of a public name, unfold.PnP, is defined."""
    package = importlib.import_module("unfold")
    kind = getattr(package, parts[1], None) if ["unfold", parts[1]] == [*parts] else None
    if not inspect.isclass(kind) or kind.__module__.split(".")[1] not in COMPONENTS:
        return ""
    return f" Write {kind.__module__}.{kind.__qualname__}."


def is_foreign(target: str) -> bool:
    """Whether a name that `resolve` admits is the user's own, or of an adapted package."""
    return target.partition(".")[0] != "unfold" and target not in THIRD_PARTY


def _is_adapted(target: str) -> bool:
    return target.startswith(tuple(f"{package}." for package in ADAPTED))


def _adapted(target: str) -> tuple[str, tuple[type, ...]]:
    """The package of a name, which is imported, and the classes that it may name there."""
    from unfold.extras import deepinv, optional  # imports PyTorch

    if target.startswith("monai."):
        from torch import nn

        optional("monai.networks.nets", "monai")
        return "monai", (nn.Module,)
    found = deepinv()
    kinds = (found.physics.Physics, found.physics.generator.PhysicsGenerator, found.models.Denoiser)
    return "deepinv", kinds


def _refuse_unadapted(found: type, target: str) -> None:
    package, bases = _adapted(target)
    if not issubclass(found, bases) or not f"{found.__module__}.".startswith(f"{package}."):
        kinds = {"deepinv": "operators, their generators and denoisers", "monai": "networks"}
        raise ConfigError(
            f"leads to {found.__module__}.{found.__qualname__}; of {package}, only "
            f"{kinds[package]} may be named."
        )


def _import(target: str) -> tuple[ModuleType, str]:
    path, _, name = target.rpartition(".")
    if _is_adapted(target):
        _adapted(target)
    try:
        return importlib.import_module(path), name
    except ModuleNotFoundError as error:
        if error.name is None or not (f"{path}.").startswith(f"{error.name}."):
            raise ConfigError(
                f"needs the package '{error.name}', which is not installed. If it is yours, in the "
                f"current folder: trust=[{path.partition('.')[0]},{error.name}]."
            ) from error
        raise ConfigError(f"there is no module '{path}'{_near(path)}") from error
    except ImportError as error:
        raise ConfigError(f"cannot be imported: {error}.") from error


def _near(path: str) -> str:
    """The nearest sibling of a missing module."""
    import pkgutil

    parent = sys.modules.get(path.rpartition(".")[0])
    siblings = [m.name for m in pkgutil.iter_modules(getattr(parent, "__path__", []))]
    return nearest(path.rpartition(".")[2], siblings)


def _refuse_alias(found: type, packages: Sequence[str]) -> None:
    home, name = found.__module__, found.__qualname__
    defined = getattr(sys.modules.get(home), name, None)
    inside = home.split(".")[0] in packages and not name.startswith("_")
    part = home.split(".")[1] if home.startswith("unfold.") else None
    if defined is not found or not inside or (part is not None and part not in COMPONENTS):
        raise ConfigError(f"leads to {home}.{name}, which is not a component of unfold.")


def public(module: ModuleType) -> list[str]:
    """The public classes that a module defines, or a package that is adapted exports."""
    home, found = module.__name__, inspect.getmembers(module, inspect.isclass)
    own = [name for name, kind in found if kind.__module__ == home or home in ADAPTED]
    return [name for name in own if not name.startswith("_")]
