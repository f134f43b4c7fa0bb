"""Published figures of first images, which need no training; `papers.py` adds them to its table.

UNFOLD_DATA=DIR python benchmarks/starts.py
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from unfold.algorithms.pgd import PGD
from unfold.array_files import read_array
from unfold.data.image_data import FolderData
from unfold.fidelities.fidelity import data_term
from unfold.fidelities.l2 import L2
from unfold.initialization import BackProjection, FittedLinear, Start
from unfold.models.unfolded import Unfolded
from unfold.physics.base import Physics
from unfold.physics.mri.cartesian import MRI
from unfold.physics.mri.masks import FixedMasks
from unfold.physics.noise.base import NoNoise
from unfold.physics.sensing.gaussian import BlockCompressedSensing
from unfold.priors.l1 import L1
from unfold.random import Draws
from unfold.reconstructor import Reconstructor
from unfold.training.fit_start import fit_start

LINEAR = {"10": 23.10, "25": 26.76}
"""PSNR of Qy on Set11, by measurements in per cent: blocks of T91 for training."""

ZERO_FILLED = {"20": 30.413, "30": 33.009, "40": 35.137, "50": 37.066}
"""PSNR of 50 brain images from pseudo-radial masks, by frequencies in per cent."""


def psnr(start: Start, physics: Physics, data: FolderData) -> float:
    """The mean over the validation images."""
    found = []
    for _, example in data.examples("validation"):
        x = example.image[None]
        y, operator = physics.measure(x, Draws(0, (0,)))
        error = start.image(data_term(L2(), operator, y)).clamp(0, 1) - x
        found.append(-10 * float(error.square().mean().log10()))
    return float(np.mean(found))


def figures(root: Path) -> Iterator[tuple[str, float, float]]:
    """(row, published, ours)."""
    folder = root / "cs"
    images = {"root": str(folder / "T91"), "validation_root": str(folder / "Set11")}
    data = FolderData(0, **images, multiple_of=1, crop=33, batch_size=64, crops_per_image=240)
    for percent, published in LINEAR.items():
        matrix = str(folder / f"phi/phi_0_{percent}_1089.mat")
        physics = BlockCompressedSensing(NoNoise(), matrix=matrix)
        operator = physics.sample(Draws(0, (0,)), (1, 33, 33))
        net = Reconstructor(PGD(), L1(), L2(), Unfolded(1), FittedLinear().of(operator))
        fit_start(net, physics, data.train_loader(), 0)
        yield f"linear_start_cs{percent}", published, psnr(net.own_start, physics, data)
    folder = root / "mri_single"
    brains = str(folder / "BrainImages_test")
    chest = str(root / "gray/Set12")  # of training, which is not read here
    data = FolderData(0, root=chest, validation_root=brains, multiple_of=1)
    for percent, published in ZERO_FILLED.items():
        mask = torch.from_numpy(read_array(folder / f"masks_istanet/mask_{percent}.mat"))
        physics = MRI(NoNoise(), mask=FixedMasks(mask[None, None].float()), real_images=True)
        yield f"zero_filled_mri{percent}", published, psnr(BackProjection(), physics, data)


def lines(root: Path) -> list[str]:
    """A table in Markdown; empty where the images are not here."""
    if not all((root / name).is_dir() for name in ("cs", "mri_single", "gray")):
        return []
    head = ["| start | published | ours | difference |", "|---|---:|---:|---:|"]
    rows = [f"| {n} | {p:.2f} | {o:.2f} | {o - p:+.2f} |" for n, p, o in figures(root)]
    return [
        "",
        "First images, without training, on Set11 and 50 brain images:",
        "",
        *head,
        *rows,
    ]


if __name__ == "__main__":
    if not (given := os.environ.get("UNFOLD_DATA")):
        sys.exit("the variable UNFOLD_DATA names no folder")
    print("\n".join(lines(Path(given))))
