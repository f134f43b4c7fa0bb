"""The arguments of a component read from its source: a typo need not wait for imports."""

import ast

from unfold.config.options import package_folder

PLAIN_BASES = ("ABC", "Generic")
"""Bases without fields."""


def declared(target: str) -> list[str] | None:
    """The arguments of a dataclass of unfold in their order; None where only imports show them.

    Args:
        target: module path and class name, `unfold.algorithms.pgd.PGD`.
    """
    found = _fields(target)
    return None if found is None else sorted(found, key=found.__getitem__)


def _fields(target: str) -> dict[str, bool] | None:
    """The fields, inherited ones first, and whether each is an argument by keyword only."""
    module, _, name = target.rpartition(".")
    path = (package_folder().parent / module.replace(".", "/")).with_suffix(".py")
    if not module.startswith("unfold.") or not path.is_file():
        return None
    body = ast.parse(path.read_text(encoding="utf-8")).body
    kinds = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    homes = {kind: f"{module}.{kind}" for kind in kinds}
    for node in body:
        if isinstance(node, ast.ImportFrom):
            homes |= {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    kind = kinds.get(name)
    if kind is None or "def __init__(" in ast.unparse(kind):
        return None
    found: dict[str, bool] = {}
    for base in map(_name, reversed(kind.bases)):
        if base not in PLAIN_BASES:
            inherited = _fields(homes.get(base, ""))
            if inherited is None:
                return None
            found |= inherited
    if any("dataclass" in ast.unparse(decorator) for decorator in kind.decorator_list):
        for node in kind.body:
            if isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation):
                field, text = ast.unparse(node.target), ast.unparse(node)
                found[field] = "kw_only=True" in text
                if "init=False" in text:
                    del found[field]
    return found


def _name(base: ast.expr) -> str:
    return ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
