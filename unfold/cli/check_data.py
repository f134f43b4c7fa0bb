"""`unfold check data=folder data.root=DIR`: reads every image and reports every fault."""

import time
from collections.abc import Sequence
from typing import Any

from unfold.cli.console import say, table
from unfold.errors import DataError

SHOWN = 3
"""Sizes of images that a row shows."""


def check_data(data: Any) -> None:
    """Look at every image of a data set.

    Raises:
        DataError: some cannot be used.
    """
    from rich.progress import Progress

    total = sum(map(len, data.files().values()))
    begin = time.perf_counter()
    with Progress(transient=True) as bar:
        task = bar.add_task("images", total=total)
        found = data.check_files(lambda: bar.advance(task))
    rate = total / (time.perf_counter() - begin)
    rows = [(split, str(s.files), str(s.usable), _sizes(s.sizes)) for split, s in found.items()]
    table(f"{total} images, {rate:.0f} a second", ("split", "files", "usable", "sizes"), rows)
    faults = [fault for one in found.values() for fault in one.faults]
    for fault in faults:
        say(f"  {fault}")
    if faults:
        raise DataError(f"{len(faults)} of {total} images cannot be used.")
    say("All images can be used.")


def _sizes(sizes: Sequence[tuple[tuple[int, int], int]]) -> str:
    """The most frequent sizes, each with how often it occurs."""
    shown = [f"{count} of {height}x{width}" for (height, width), count in sizes[:SHOWN]]
    rest = len(sizes) - SHOWN
    return ", ".join([*shown, f"{rest} further sizes"] if rest > 0 else shown)
