"""The end of `sweep=modes`: what each mode reaches, and what it costs, in a table and a figure."""

from collections.abc import Sequence
from pathlib import Path

from unfold.cli.console import say, short, table
from unfold.disk import write_text

VALUES = ("psnr", "ssim", "operator_calls", "network_calls", "parameters", "seconds")


def conclude_modes(directories: Sequence[Path], stem: Path) -> None:
    """Write STEM.md, .tex, .csv and .png, and show the first; nothing without a scored run.

    Modes of other problems have files of their own, STEM_2.md and on.
    """
    from unfold.evaluation import figures
    from unfold.runs.catalogue import read_entry
    from unfold.runs.results import blocks, written
    from unfold.runs.seal import ROWS

    entries = [read_entry(path, path.name) for path in directories]
    if not any((path / ROWS).is_file() for path in directories):
        return
    made, _ = blocks(entries, "experiment", VALUES)
    for number, block in enumerate(made):
        lines = [[type(name)(name.removeprefix("mode_")), *rest] for name, *rest in block.lines]
        named = block._replace(lines=lines)
        path = stem.with_name(f"{stem.name}_{number + 1}") if number else stem
        table(named.title, lines[0], lines[1:])
        for form, suffix in (("md", ".md"), ("latex", ".tex"), ("csv", ".csv")):
            write_text(path.with_suffix(suffix), written(named, form))
        points = [
            (line[0], values[2].mean, values[0])
            for line, values in zip(lines[1:], block.values, strict=True)
        ]
        figures.budget_figure(points, path.with_suffix(".png"))
        say(f"wrote {short(path)}.md, .tex, .csv and .png")
