"""Published figures and ours: trains `experiment=ROW` for each row and writes docs/paper_table.md.

    python benchmarks/papers.py [--rows tnrd5_5x5_s25 ...] [--runs DIR]

A row that is finished is not run again. Images are read from the folder that UNFOLD_DATA names; a
row whose run belongs to another commit is marked as old.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import starts  # beside this file

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs/paper_table.md"
GRAY = ("data.root={data}/gray/Train400", "data.validation_root={data}/gray/BSD68")


class Row(NamedTuple):
    """One published figure.

    published: in dB, by the paper.
    bar: from which it counts as reproduced.
    overrides: of `experiment=NAME`.
    """

    published: float
    bar: float
    overrides: tuple[str, ...]


ROWS = {
    "tnrd5_5x5_s25": Row(28.78, 28.50, ("experiment=tnrd5_5x5_s25", *GRAY)),
    "csf4_3x3_s25": Row(28.29, 28.15, ("experiment=csf4_3x3_s25", *GRAY)),
    "crr_tstep1_s25": Row(
        27.865, 27.785, ("experiment=crr_tstep_s25", "model.iterations=1", *GRAY)
    ),
    "crr_tstep2_s25": Row(
        27.975, 27.895, ("experiment=crr_tstep_s25", "model.iterations=2", *GRAY)
    ),
}


def main() -> int:
    """Train the rows that are not finished, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/papers")
    given = parser.parse_args()
    data = os.environ.get("UNFOLD_DATA")
    if not data or not Path(data).is_dir():
        print("the variable UNFOLD_DATA names no folder: the images of the papers are not here")
        return 2
    for name in given.rows:
        overrides = [text.format(data=Path(data).resolve()) for text in ROWS[name].overrides]
        command = [sys.executable, "train.py", *overrides, f"name={name}"]
        command += [f"runs_dir={given.runs}", "trainer.progress=false"]
        print(" ".join(overrides), flush=True)
        if code := subprocess.call(command, cwd=ROOT):
            return code
    lines = table(given.runs)
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return 0


def table(runs: Path) -> list[str]:
    """The Markdown table of every row that has a finished run."""
    lines = [
        "# Published figures and ours",
        "",
        "PSNR in dB on BSD68, by `make papers`. A difference is ours less the published one.",
        "",
        "| row | published | ours | difference | holds | minutes | device | numbers stored | data "
        "| commit |",
        "|---|---:|---:|---:|---|---:|---|---:|---|---|",
    ]
    head = _git("rev-parse", "HEAD")
    for name, row in ROWS.items():
        for run in sorted(runs.glob(f"*-{name}/*/results.json")):
            lines.append(_line(name, row, run.parent, head))
    return lines + starts.lines(Path(os.environ["UNFOLD_DATA"]))


def _line(name: str, row: Row, run: Path, head: str) -> str:
    results, provenance = (
        json.loads((run / f"{file}.json").read_text(encoding="utf-8"))
        for file in ("results", "provenance")
    )
    spans = [
        datetime.fromisoformat(one["ended"]) - datetime.fromisoformat(one["started"])
        for one in provenance["attempts"]
        if one.get("ended")
    ]
    minutes = sum(span.total_seconds() for span in spans) / 60
    ours = results["best validation/psnr"]
    commit = provenance["git"]["commit"] or "?"
    dirty = " and changes" if provenance["git"]["dirty"] else ""
    old = "" if commit == head else ", old"
    holds = f"{'yes' if ours >= row.bar else 'no'}, {row.bar:.2f}"
    return (
        f"| {name} | {row.published:.2f} | {ours:.2f} | {ours - row.published:+.2f} | {holds} | "
        f"{minutes:.1f} | {_device(provenance)} | {_parameters(run)} | "
        f"{provenance['data'][:8]} | {commit[:7]}{dirty}{old} |"
    )


def _device(provenance: Mapping[str, Any]) -> str:
    machine = provenance["machine"]
    return ", ".join(machine["gpus"]) or f"{machine['cpus']} CPUs"


def _parameters(run: Path) -> int:
    """The numbers in the weights of a run."""
    from safetensors import safe_open

    with safe_open(run / "weights.safetensors", "pt") as file:
        return sum(file.get_tensor(key).numel() for key in file.keys())  # noqa: SIM118


def _git(*words: str) -> str:
    found = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
