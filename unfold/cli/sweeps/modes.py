"""The end of `sweep=modes`: what each mode reaches, and what it costs, in a table and a figure."""

from collections.abc import Sequence
from pathlib import Path

from unfold.cli.console import say, short, table
from unfold.disk import write_text

VALUES = ("psnr", "ssim", "operator_calls", "network_calls", "parameters", "seconds")


def conclude_modes(directories: Sequence[Path], runs_dir: Path) -> None:
    """Write `modes.md`, `.tex`, `.csv` and `.png` into the folder of the runs, and show the first.

    Nothing where fewer than two runs were scored.
    """
    from unfold.evaluation import figures
    from unfold.runs.catalogue import read_entry
    from unfold.runs.results import blocks, written

    entries = [read_entry(path, path.name) for path in directories]
    for number, block in enumerate(blocks(entries, "experiment", VALUES) if entries else ()):
        lines = [[type(name)(name.removeprefix("mode_")), *rest] for name, *rest in block.lines]
        named = block._replace(lines=lines)
        stem = runs_dir / (f"modes_{number + 1}" if number else "modes")
        table(named.title, lines[0], lines[1:])
        for form, suffix in (("md", ".md"), ("latex", ".tex"), ("csv", ".csv")):
            write_text(stem.with_suffix(suffix), written(named, form))
        points = [
            (line[0], values[2].mean, values[0])
            for line, values in zip(lines[1:], block.values, strict=True)
        ]
        figures.budget_figure(points, stem.with_suffix(".png"))
        say(f"wrote {short(stem)}.md, .tex, .csv and .png")
