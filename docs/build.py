"""Run what the documentation shows, then build the site: `make docs`, offline.

    python docs/build.py [--pages tutorial how_to/mri ...] [--only-run | --only-build]

The blocks of a page run in their order, in a folder of its own: bash and python are executed, and
a block with a caption, ```{code-block} python with :caption: mine/loss.py, is written to that file.
The pictures that a page shows, `made/NAME.png`, are those that its blocks made. A page that fails,
or shows a picture that it did not make, ends the build with the block and what it printed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parent
ROOT, BUILD = DOCS.parent, DOCS.parent / "build/docs"
LIMIT = 1800
"""Seconds that a page may take, on a busy machine: one takes a minute or two on a quiet one."""

BLOCK = re.compile(
    r"^```(?:\{code-block\} )?(bash|python|yaml)\n(?::caption: (\S+)\n+)?(.*?)^```$", re.M | re.S
)
PICTURE = re.compile(r"\]\((made/[\w.-]+)\)|image:: (made/\S+)")


class Block(NamedTuple):
    """What a page shows: its language, the file that it is, and its text."""

    language: str
    file: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """Of a page, in order."""
    for language, file, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        yield Block(language, file, text)


def run_page(page: Path, folder: Path) -> None:
    """Run the blocks of a page in a new folder; exits with what a failed one printed."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "made").mkdir(parents=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    begun, used = time.monotonic(), os.times()
    for block in blocks(page):
        if block.file:
            place = folder / block.file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(block.text, encoding="utf-8")
            continue
        if block.language == "yaml":
            continue
        command = [sys.executable, "-c"] if block.language == "python" else ["bash", "-ec"]
        left = max(1, LIMIT - (time.monotonic() - begun))
        try:
            done = subprocess.run(
                [*command, block.text],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=left,
                check=False,
            )
        except subprocess.TimeoutExpired:
            sys.exit(
                f"{page}: this block was stopped, {LIMIT} s after the page began:\n{block.text}"
            )
        if done.returncode:
            sys.exit(
                f"{page}: this block ended with {done.returncode}:\n{block.text}\n{done.stdout}"
            )
    shown = {one or two for one, two in PICTURE.findall(page.read_text(encoding="utf-8"))}
    missing = [name for name in shown if not (folder / name).is_file()]
    if missing:
        sys.exit(f"{page}: shows {', '.join(missing)}, which its blocks did not make.")
    taken, now = time.monotonic() - begun, os.times()
    cpu = now.children_user + now.children_system - used.children_user - used.children_system
    print(f"{page.relative_to(DOCS)}: {taken:.0f} s, {cpu:.0f} s of CPU", flush=True)


def write_names(page: Path) -> None:
    """A page of every public name, by the room that it is from."""
    import unfold

    rooms: dict[str, list[str]] = {}
    for name in sorted(unfold.__all__):
        found = getattr(unfold, name)
        module = str(getattr(found, "__module__", "unfold"))
        kind = "class" if isinstance(found, type) else "function"
        if callable(found):
            room = module.split(".")[1] if "." in module else "unfold"
            entry = f".. auto{kind}:: {module}.{found.__name__}\n"
            if entry not in rooms.setdefault(room, []):  # a second name of the same
                rooms[room].append(entry)
    parts = [f"## {room}\n\n```{{eval-rst}}\n{''.join(one)}```\n" for room, one in rooms.items()]
    page.write_text("# Public names\n\nAll are importable from `unfold`.\n\n" + "\n".join(parts))


def main() -> None:
    """Run the pages, or those that are named, and build the site of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", nargs="*", help="those that are run; all by default")
    parser.add_argument("--only-run", action="store_true", help="do not build the site")
    parser.add_argument("--only-build", action="store_true", help="with what the last runs made")
    given = parser.parse_args()
    pages = sorted(page for page in DOCS.rglob("*.md") if next(blocks(page), None))
    names = {page.relative_to(DOCS).with_suffix("").as_posix(): page for page in pages}
    if unknown := set(given.pages or ()) - names.keys():
        sys.exit(f"no page {', '.join(unknown)} with blocks; there are {', '.join(names)}")
    for name, page in names.items():
        if not given.only_build and (not given.pages or name in given.pages):
            run_page(page, BUILD / "work" / name)
    if not given.only_run:
        source = BUILD / "source"
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(DOCS, source)
        for name in names:
            if (made := BUILD / "work" / name / "made").is_dir():
                shutil.copytree(made, (source / name).parent / "made", dirs_exist_ok=True)
        write_names(source / "names.md")
        site = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
        subprocess.run([*site, str(source), str(BUILD / "html")], check=True)
        print(f"open {BUILD / 'html/index.html'}")


if __name__ == "__main__":
    main()
