"""`make stubs`: writes `unfold/__init__.pyi`, the public names and where each is defined.

Public is what a user builds with or derives from: every class below that descends from one of
`BASES`, and the functions in `FUNCTIONS`. `lazy_loader` reads the file at import.
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1] / "unfold"
STUB = ROOT / "__init__.pyi"

BASES = frozenset(
    {
        *("Algorithm", "Prior", "Fidelity", "Model", "Physics", "Operator", "Noise", "Kernel"),
        *("Sampling", "Trajectory", "Denoiser", "Start", "Schedule", "Solver", "Loss"),
        *("UnfoldedBackward", "EquilibriumBackward", "Reconstructor"),
    }
)
PACKAGES = (
    *("algorithms", "builders", "denoisers", "fidelities", "models", "problem"),
    "initialization",
    *(
        "parameters",
        "physics",
        "priors",
        "reconstructor",
        "solvers",
        "training/losses",
        "training/image_losses",
    ),
)
FUNCTIONS = {
    "builders": ["DEQ_builder", "unfolded_builder"],
    "config.experiment": ["Experiment", "build", "load"],
    "physics.mri.coils": ["estimate_maps"],
    "physics.mri.learned": ["LearnedColumns"],
    "problem": ["Problem"],
    "random": ["Draws"],
    "parameters.declare": ["Learnable", "param"],
    "parameters.networks": ["PerIteration"],
    "parameters.select": ["Trainable"],
    "parameters.constraints": ["Interval"],
    "export": ["Exportable"],
    "parameters.bounds": ["bounded"],
    "algorithms.algorithm": ["Guarantee", "ImageState"],
    "algorithms.learned_primal_dual": ["DualBlock", "PrimalBlock"],
}


def public_names() -> dict[str, str]:
    """The module of every public name, relative to `unfold`."""
    bases: dict[str, set[str]] = {}
    found: list[tuple[str, str, set[str]]] = []
    for path in _files():
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                above = {ast.unparse(base).partition("[")[0] for base in node.bases}
                found.append((node.name, module, above))
                bases[node.name] = bases.get(node.name, set()) | above

    def is_public(name: str, above: set[str], seen: frozenset[str]) -> bool:
        return name in BASES or any(
            is_public(base, bases.get(base, set()), seen | {name}) for base in above - seen
        )

    chosen: dict[str, list[str]] = {}
    for name, module, above in found:
        if not name.startswith("_") and is_public(name, above, frozenset()):
            chosen.setdefault(name, []).append(module)
    doubled = {name: modules for name, modules in chosen.items() if len(modules) > 1}
    assert not doubled, f"public names must be unique: {doubled}"
    names = {name: modules[0] for name, modules in chosen.items()}
    return names | {name: module for module, given in FUNCTIONS.items() for name in given}


def _files() -> list[Path]:
    for package in PACKAGES:
        single = ROOT / f"{package}.py"
        yield from [single] if single.is_file() else sorted((ROOT / package).rglob("*.py"))


def text() -> str:
    """The content of the stub."""
    names = public_names()
    lines = [f"from .{names[name]} import {name} as {name}" for name in sorted(names)]
    head = '"""Public names; written by `make stubs`."""\n\nfrom . import testing as testing\n'
    return head + "\n".join(lines) + "\n\n__version__: str\n"


if __name__ == "__main__":
    STUB.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"{STUB}: {len(public_names())} names\n")
