"""The pages of the documentation: all are in the site, and what they refer to exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
HOW_TO = (
    *("own_algorithm", "own_prior", "own_denoiser", "own_loss", "own_metric", "own_data"),
    *("own_physics", "own_launcher", "photographs", "mri", "ct", "real_measurement"),
    *("plug_and_play", "equilibria", "sweeps", "from_deepinv"),
)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([\w-]+))?\)")
CODE = re.compile(r"^```.*?^```$", re.M | re.S)


def named(page):
    return page.relative_to(ROOT).as_posix()


def anchors(path):
    """The anchors of the headings of a page, as the site and a forge write them."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_page_is_in_a_table_of_contents():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = set()
    for tree in re.findall(r"```\{toctree\}\n(.*?)```", index, re.S):
        for line in filter(None, tree.splitlines()):
            if not line.startswith(":"):
                listed |= {
                    p.relative_to(DOCS).with_suffix("").as_posix() for p in DOCS.glob(f"{line}.md")
                }
                assert line == "names" or list(DOCS.glob(f"{line}.md")), line
    names = {page.relative_to(DOCS).with_suffix("").as_posix() for page in PAGES}
    assert names - {"index"} == listed


def test_there_is_a_page_for_every_job():
    assert {f"{name}.md" for name in HOW_TO} <= {page.name for page in (DOCS / "how_to").iterdir()}
    explained = {"equilibrium_gradients.md", "randomness.md", "identity.md", "pure_step.md"}
    assert explained <= {page.name for page in (DOCS / "explanation").iterdir()}


@pytest.mark.parametrize("page", TEXTS, ids=named)
def test_every_internal_link_leads_somewhere(page):
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    for target, anchor in LINK.findall(text):
        if target.startswith("made/"):
            continue  # made by the blocks of the page; `make docs` checks it
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), f"{named(page)}: {target}"
        assert not anchor or anchor in anchors(found), f"{named(page)}: {target}#{anchor}"


@pytest.mark.parametrize("page", TEXTS, ids=named)
def test_no_page_names_a_machine(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.])/(?:tmp|home|root|work|mnt|Users)/", text)


@pytest.mark.parametrize("page", [p for p in PAGES if p.parent != DOCS], ids=named)
def test_a_page_runs_and_shows_what_it_made(page):
    text = page.read_text(encoding="utf-8")
    assert re.search(r"^```(?:bash|python)$", text, re.M), "no block of it runs"
    assert "](made/" in text, "it shows no picture"


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150


def test_the_licences_are_stated():
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    stated = (ROOT / "unfold/data/images/LICENSES.md").read_text(encoding="utf-8")
    for picture in (ROOT / "unfold/data/images").glob("*.png"):
        assert f"| {picture.name} |" in stated
