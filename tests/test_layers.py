"""Imports point down: the layers of the package, as a graph over its files."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "unfold"

LAYERS = (
    ("errors", "random", "disk", "arrays", "machine", "extras"),
    ("parameters", "typing", "shapes", "pytree", "thresholds", "array_files"),
    ("solvers",),
    ("physics",),
    ("fidelities", "priors", "denoisers"),
    ("problem", "initialization", "features"),
    ("algorithms", "models", "compatibility"),
    ("reconstructor", "architectures", "builders", "export"),
    ("data", "training", "evaluation", "testing"),
    ("config", "runs", "launchers", "results", "cli"),
)
"""The tree of the design, from the bottom to the top."""

SIDEWAYS = {
    ("typing", "parameters"),
    ("pytree", "typing"),
    ("shapes", "typing"),
    ("thresholds", "typing"),
    ("random", "errors"),
    ("disk", "errors"),
    ("arrays", "errors"),
    ("extras", "errors"),
    ("priors", "denoisers"),
    ("priors", "fidelities"),
    ("compatibility", "algorithms"),
    ("problem", "initialization"),
    ("models", "algorithms"),  # the contract of an algorithm only, see below
    ("builders", "reconstructor"),
    ("export", "reconstructor"),
    ("training", "data"),
    ("training", "evaluation"),
    ("testing", "training"),
    ("evaluation", "data"),
    ("config", "runs"),
    ("launchers", "runs"),
    ("cli", "config"),
    ("cli", "launchers"),
    ("cli", "runs"),
    ("cli", "results"),
    ("results", "config"),
    ("results", "runs"),
}
"""Who may know whom inside one layer."""

LIBRARIES = {
    "lightning": {"data", "training", "evaluation"},
    "pytorch_lightning": set(),
    "torchmetrics": {"data", "training", "evaluation"},
    "hydra": {"config", "cli"},
    "omegaconf": {"config", "cli"},
}
"""Which parts may know which library."""

FILES = sorted(ROOT.rglob("*.py"))


def part_of(module: str) -> str:
    return module.split(".")[1]


def layer(part: str) -> int:
    return next(i for i, parts in enumerate(LAYERS) if part in parts)


def imports(path: Path) -> list[str]:
    """Every module that a file imports, at its top or inside a function; not for types alone."""
    tree = _RunTime().visit(ast.parse(path.read_text(encoding="utf-8")))
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            found += [node.module or ""]
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


class _RunTime(ast.NodeTransformer):
    """Leaves out what only a type checker reads."""

    def visit_If(self, node):
        is_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return node.orelse if is_types else self.generic_visit(node)


def owner(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    own = owner(path)
    if own == "__init__":
        return  # its names load when they are first used
    for module in imports(path):
        if not module.startswith("unfold."):
            continue
        other = part_of(module)
        if other == own or (own, other) in SIDEWAYS or other == "__version__":
            continue
        assert layer(other) < layer(own), f"{own} may not know {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_frameworks_stay_in_their_layer(path):
    for module in imports(path):
        allowed = LIBRARIES.get(module.split(".")[0])
        assert allowed is None or owner(path) in allowed, f"{path} imports {module}"


def test_models_know_no_algorithm():
    for path in (ROOT / "models").glob("*.py"):
        known = {m for m in imports(path) if m.startswith("unfold.algorithms.")}
        assert all(m.startswith("unfold.algorithms.algorithm") for m in known), path
    for path in (ROOT / "algorithms").glob("*.py"):
        assert not any(m.startswith("unfold.models") for m in imports(path)), path


def test_every_part_has_a_layer():
    parts = {owner(path) for path in FILES} - {"__init__"}
    assert parts <= {part for parts in LAYERS for part in parts}
