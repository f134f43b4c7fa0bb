"""Limits of the source tree: folders, files, arguments, import circles, and standard words."""

import ast
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "unfold"
FILES = sorted(ROOT.rglob("*.py"))

MOST_ENTRIES, MOST_OF_A_CATALOGUE, MOST_LINES, MOST_ARGUMENTS = 22, 30, 350, 8
CATALOGUES = {"algorithms", "denoisers", "cli"}

AVOIDED = re.compile(
    r"(?<!power[ -])(?<!lambert )\blaws?\b|\bmishaps?\b|(?<!line )\bendings?\b|\bin vain\b"
    r"|\bthe same bits\b|\bgoes on\b|\bis told\b|\bbelonging\b|\bslip of\b|\blooks? at the device\b"
    r"|\bin the place of\b",
    re.IGNORECASE,
)
"""Words for which the field has a standard term."""


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def graph() -> dict[str, set[str]]:
    """Who imports whom: at the top, inside functions, and for types alone."""
    modules = {module_of(path) for path in FILES}
    found: dict[str, set[str]] = defaultdict(set)
    for path in FILES:
        own = module_of(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found[own] |= {alias.name for alias in node.names} & modules
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    found[own] |= {full if full in modules else node.module} & modules
        found[own].discard(own)
    return found


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import one another (strongly connected components)."""
    reach: dict[str, set[str]] = {}
    for start in edges:
        queue, seen = list(edges[start]), set[str]()
        while queue:
            if (one := queue.pop()) not in seen:
                seen.add(one)
                queue += edges.get(one, ())
        reach[start] = seen
    groups = {
        frozenset(b for b in reach[a] if a in reach.get(b, ())) for a in reach if a in reach[a]
    }
    return sorted(sorted(group) for group in groups)


def arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return sum(a.arg not in ("self", "cls") for a in given)


def test_no_modules_import_one_another():
    assert circles(graph()) == []


def test_the_search_for_circles_finds_one():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert circles(edges) == [["a", "b", "c"]]


def test_no_folder_is_crowded():
    folders = {parent for path in FILES for parent in path.parents if ROOT in parent.parents}
    count = Counter(p.parent for p in [*FILES, *folders] if p.parent != ROOT)
    crowded = {
        str(folder.relative_to(ROOT)): n
        for folder, n in count.items()
        if n > (MOST_OF_A_CATALOGUE if folder.name in CATALOGUES else MOST_ENTRIES)
    }
    assert crowded == {}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_short_and_its_callables_take_few_arguments(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert arguments(node) <= MOST_ARGUMENTS, f"{node.name}, line {node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_words_are_standard(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [f"{n}: {line.strip()}" for n, line in enumerate(lines, 1) if AVOIDED.search(line)]
    assert found == [], "use the terms of the field"
