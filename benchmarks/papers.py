"""Published figures and ours: trains `experiment=ROW` for each row and writes docs/paper_table.md.

    python benchmarks/papers.py [--rows tnrd5_5x5_s25 ...] [--runs DIR]

A row that is finished is not run again. Images are read from the folder that UNFOLD_DATA names; a
row is marked as old where the product has changed since its run.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
import starts  # beside this file
import torch
from PIL import Image

import unfold
from unfold.data.indexed.sparse_codes import SparseCodes
from unfold.models.deq import DEQ
from unfold.physics.base import Examples
from unfold.physics.denoising import Denoising
from unfold.physics.noise.base import Gaussian
from unfold.random import Draws
from unfold.solvers.acceleration import Nesterov

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs/paper_table.md"
GRAY = ("data.root={data}/gray/Train400", "data.validation_root={data}/gray/BSD68")


class Row(NamedTuple):
    """One published figure.

    published: in dB, by the paper.
    bar: from which it counts as reproduced.
    overrides: of `experiment=NAME`.
    seeds: from 0, of whose runs the mean and the standard deviation are printed.
    score: what is compared, of the images that the run validated on; `codes`, the NMSE of new ones,
        is better where it is lower; `equilibrium`, the PSNR on BSD68 at 25/255 of a network that
        was validated on noise of many levels.
    steps: of the schedule, and those that a CPU takes in 20 minutes, which end the schedule early
        there; None: the whole schedule everywhere.
    """

    published: float
    bar: float
    overrides: tuple[str, ...]
    seeds: int = 1
    score: str = "psnr"
    steps: tuple[int, int] | None = None


SPARSE = (
    "physics.path={data}/sparse/D.mat",
    "data.validation_file={data}/sparse/xtest_n500_p10.npy",
)


def _sparse(name: str, published: float, bar: float) -> Row:
    """A row of Open-L2O's figure 5, which were read off a plot: within 1 dB."""
    return Row(published, bar, (f"experiment={name}", *SPARSE), 3, "codes")


ROWS = {
    "alista_m250_n500": _sparse("alista_m250_n500", -78.5, -55.0),
    "alista_m250_n500_snr20": _sparse("alista_m250_n500_snr20", -20.1, -20.0),
    "lista_cpss_m250_n500": _sparse("lista_cpss_m250_n500", -63.0, -50.0),
    "lista_cp_m250_n500": _sparse("lista_cp_m250_n500", -30.0, -24.0),
    "lista_m250_n500": _sparse("lista_m250_n500", -35.5, -12.9),
    "tnrd5_5x5_s25": Row(28.78, 28.50, ("experiment=tnrd5_5x5_s25", *GRAY)),
    "csf4_3x3_s25": Row(28.29, 28.15, ("experiment=csf4_3x3_s25", *GRAY)),
    "crr_tstep1_s25": Row(
        27.865, 27.785, ("experiment=crr_tstep_s25", "model.iterations=1", *GRAY)
    ),
    "crr_tstep2_s25": Row(
        27.975, 27.895, ("experiment=crr_tstep_s25", "model.iterations=2", *GRAY)
    ),
    "wcrr_bsd68": Row(28.68, 28.48, ("experiment=wcrr_bsd68", *GRAY), score="equilibrium"),
    "learned_primal_dual_ellipses": Row(
        38.28, 37.0, ("experiment=learned_primal_dual_ellipses",), steps=(100_000, 600)
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
        for seed in range(ROWS[name].seeds):
            command = [sys.executable, "train.py", *overrides, f"seed={seed}", f"name={name}"]
            command += [f"runs_dir={given.runs}", "trainer.progress=false"]
            if (steps := ROWS[name].steps) and not torch.cuda.is_available():
                command += [f"trainer.max_steps={steps[1]}"]
            print(" ".join(overrides), f"seed={seed}", flush=True)
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
        "By `make papers`: PSNR in dB on BSD68, or on Shepp and Logan's phantom; in the "
        "rows of LISTA, 16 layers, the NMSE in dB, a "
        "ratio of sums, of the 1,000 codes that `data=sparse_codes` draws to test on (seed 0), on "
        "which nothing was chosen; mean ± sd over seeds. A difference is ours less the published "
        "one; minutes are of one run. LISTA-CPSS starts from the analytic weights, not from A/‖A‖² "
        "as published. A row lista_m250_n500 that is old has shorter stages.",
        "",
        "| row | published | ours | difference | holds | minutes | device | numbers stored | data "
        "| commit |",
        "|---|---:|---:|---:|---|---:|---|---:|---|---|",
    ]
    for name, row in ROWS.items():
        newest: dict[int, Path] = {}  # by seed
        for run in sorted(runs.glob(f"*-{name}/*/results.json"), key=lambda p: p.stat().st_mtime):
            newest[_read(run.parent, "provenance")["seed"]] = run.parent
        if newest:
            lines.append(_line(name, row, [newest[seed] for seed in sorted(newest)]))
    return lines + starts.lines(Path(os.environ["UNFOLD_DATA"]))


def _read(run: Path, name: str) -> Any:
    return json.loads((run / f"{name}.json").read_text(encoding="utf-8"))


def _line(name: str, row: Row, runs: Sequence[Path]) -> str:
    known = [_read(run, "provenance") for run in runs]
    spans = [
        datetime.fromisoformat(one["ended"]) - datetime.fromisoformat(one["started"])
        for provenance in known
        for one in provenance["attempts"]
        if one.get("ended")
    ]
    minutes = sum(span.total_seconds() for span in spans) / 60 / len(runs)
    scores = [SCORES[row.score](run) for run in runs]
    ours = fmean(scores)
    spread = f" ± {stdev(scores):.2f} ({len(scores)})" if len(scores) > 1 else ""
    if row.steps and (part := _read(runs[0], "results")["steps"] / row.steps[0]) < 1:
        spread += f" ({part:.1%} of the schedule)"
    commits = sorted({one["git"]["commit"] or "?" for one in known})
    dirty = " and changes" if any(one["git"]["dirty"] for one in known) else ""
    old = ", old" if dirty or any(map(_changed_since, commits)) else ""
    reached = ours <= row.bar if row.score == "codes" else ours >= row.bar
    holds = f"{'yes' if reached else 'no'}, {row.bar:.2f}"
    return (
        f"| {name} | {row.published:.2f} | {ours:.2f}{spread} | {ours - row.published:+.2f} | "
        f"{holds} | {minutes:.1f} | {_device(known[0])} | {_parameters(runs[0])} | "
        f"{known[0]['data'][:8]} | {', '.join(one[:7] for one in commits)}{dirty}{old} |"
    )


@torch.no_grad()
def nmse_of_codes(run: Path) -> float:
    """10 log10 of Σ‖x̂ − x‖²/Σ‖x‖² of the codes that are drawn to test on."""
    experiment, data = unfold.load(str(run)), SparseCodes(seed=0)
    places = range(data.count("test"))
    x = torch.stack([data.picture("test", 0, i).image for i in places])
    y, operator = experiment.physics.measure(Examples(x), Draws(0, places))
    error = experiment(y, operator) - x
    return 10 * float((error.double().square().sum() / x.double().square().sum()).log10())


@torch.no_grad()
def psnr_at_25(run: Path) -> float:
    """Mean PSNR of equilibria whose residual is below 1e-4, on BSD68 with noise of 25/255."""
    net, noise = unfold.load(str(run)).reconstructor, Gaussian(25 / 255)
    net.model = DEQ(tol=1e-4, accuracy=1e-3, max_iterations=300, solver=Nesterov())
    scores = []
    for i, file in enumerate(sorted((Path(os.environ["UNFOLD_DATA"]) / "gray/BSD68").iterdir())):
        pixels = torch.from_numpy(np.asarray(Image.open(file).convert("L")) / 255.0)
        x = pixels.float()[None, None]
        y, operator = Denoising(noise).measure(Examples(x), Draws(0, [i]))
        found = net.solve(y, operator, noise_level=25 / 255)
        if not bool(found.converged):
            print(f"{file.name}: the equilibrium is at a residual of {float(found.residual):.1e}")
        scores.append(-10 * float((found.image - x).square().mean().log10()))
    return fmean(scores)


def _best(run: Path) -> float:
    return float(_read(run, "results")["best validation/psnr"])


SCORES = {"psnr": _best, "codes": nmse_of_codes, "equilibrium": psnr_at_25}


def _device(provenance: Mapping[str, Any]) -> str:
    machine = provenance["machine"]
    return ", ".join(machine["gpus"]) or f"{machine['cpus']} CPUs"


def _parameters(run: Path) -> int:
    """The numbers in the weights of a run."""
    from safetensors import safe_open

    with safe_open(run / "weights.safetensors", "pt") as file:
        return sum(file.get_tensor(key).numel() for key in file.keys())  # noqa: SIM118


def _changed_since(commit: str) -> bool:
    """Whether the product differs from that of a commit, or the commit is not known here."""
    command = ["git", "diff", "--quiet", commit, "--", "unfold", "configs"]
    return bool(subprocess.call(command, cwd=ROOT, stderr=subprocess.DEVNULL))


if __name__ == "__main__":
    sys.exit(main())
