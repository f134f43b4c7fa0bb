"""One network for every operator against total variation, tuned for each cell on the test images.

    python benchmarks/every_operator.py [--run every_operator] [--images DIR ...] [--channels 3]

Prints the gain in dB, operator by noise level, of each folder of images, of which the central
squares of 128 pixels are measured. The best of six weights of total variation is chosen on the very
images that are compared; a cell whose best weight is at the end of the grid is tried further. TV is
kept in a cache, as it does not depend on the network.
"""

import argparse
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

import unfold
from unfold.evaluation.baselines import total_variation
from unfold.models.classical import Classical
from unfold.physics.base import Examples
from unfold.physics.noise.measured import estimate_level
from unfold.random import Draws

OPERATORS = {
    "motion blur": ["physics=motion_blur"],
    "gaussian blur": ["physics=gaussian_blur"],
    "inpainting": ["physics=inpainting", "physics.keep=[0.2,0.8]"],
    "super-resolution x2": ["physics=super_resolution"],
    "denoising": ["physics=denoising"],
}
UNSEEN = {
    "Levin's kernels": ["physics=levin_blur", "physics.kernel.path={data}/kernels/Levin09.mat"],
    "grid inpainting": ["physics=grid_inpainting"],
    "disk blur": [
        "physics=gaussian_blur",
        "physics.kernel={_target_: unfold.physics.blur.kernels.DiskKernel, size: 9, "
        "radius: [1, 4]}",
    ],
    "compressed sensing 0.5": ["physics=compressed_sensing", "physics.ratio=0.5"],
    "Hadamard sensing": [
        "physics=compressed_sensing",
        "physics.basis._target_=unfold.physics.sensing.compressed.Walsh",
    ],
    "lines (in training)": ["physics=line_inpainting"],
}
LEVELS = (0.01, 0.02, 0.05, 0.1)
GRID = (0.04, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Weights of total variation, over the noise level."""

SIDE = 128


def images(folder: Path, every: int, channels: int = 1) -> Tensor:
    """(B, C, 128, 128): the centres of every so many images of a folder."""
    found = []
    paths = sorted(p for p in folder.iterdir() if p.suffix in (".png", ".tif", ".jpg"))
    for path in paths[::every]:
        pixels = np.asarray(Pillow.open(path).convert("L" if channels == 1 else "RGB")) / 255.0
        x = torch.from_numpy(pixels).float().reshape(*pixels.shape[:2], channels).movedim(2, 0)
        top, left = ((n - SIDE) // 2 for n in x.shape[1:])
        found.append(x[:, top : top + SIDE, left : left + SIDE])
    return torch.stack(found)


def psnr(x: Tensor, truth: Tensor) -> Tensor:
    """In dB, of each image, clipped to [0, 1]."""
    return -10 * (x.clamp(0, 1) - truth).square().flatten(1).mean(1).log10()


@torch.no_grad()
def oracle(y: Tensor, operator: Any, truth: Tensor, level: float, cache: Path) -> float:
    """Mean PSNR of total variation at its best weight."""
    key = hashlib.blake2b(y.numpy().tobytes() + truth.numpy().tobytes()).hexdigest()[:20]
    file = cache / f"{key}.json"
    if file.is_file():
        return float(json.loads(file.read_text()))
    tried: dict[float, float] = {}
    new, ratio = list(GRID), GRID[-1] / GRID[-2]
    for _ in range(4):
        for weight in new:
            lam = torch.tensor([weight * level])
            found = total_variation(y, operator, lam, Classical(1e-3, 400), torch.float32)
            tried[weight] = float(psnr(found.image, truth).mean())
        best = max(tried, key=lambda w: tried[w])
        new = [max(tried) * ratio] if best == max(tried) else [min(tried) / ratio]
        if min(tried) < best < max(tried):
            break
    cache.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(max(tried.values())))
    return max(tried.values())


def main() -> None:
    """Print one table for each folder of images."""
    data = os.environ.get("UNFOLD_DATA", "")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default="every_operator")
    parser.add_argument("--images", nargs="+", default=[f"{data}/gray/Set12"])
    parser.add_argument("--every", type=int, default=1, help="take every so many images")
    parser.add_argument("--channels", type=int, default=1, help="1: gray, 3: colour")
    parser.add_argument(
        "--told", default="1", help="the network is told σ times this, or estimate: what y tells"
    )
    parser.add_argument("--unseen", action="store_true", help="operators without training")
    parser.add_argument("--cache", type=Path, default=Path(".cache/every_operator"))
    given = parser.parse_args()
    net = unfold.load(given.run).reconstructor.eval()
    rows = UNSEEN if given.unseen else OPERATORS
    for folder in map(Path, given.images):
        truth, gains = images(folder, given.every, given.channels), []
        print(f"{folder.name}, {len(truth)} images: PSNR in dB, and the gain over TV")
        for name, overrides in rows.items():
            cells = []
            for level in LEVELS:
                own = [text.format(data=data) if "{data}" in text else text for text in overrides]
                colour = f"data.channels={given.channels}"
                physics = unfold.build(*own, colour, f"physics.noise.sigma={level}").physics
                y, operator = physics.measure(Examples(truth), Draws(0, range(len(truth))))
                estimated = given.told == "estimate"
                told = estimate_level(y, operator) if estimated else float(given.told) * level
                with torch.no_grad():
                    ours = net.solve(y, operator, noise_level=told).image
                mine = float(psnr(ours, truth).mean())
                gain = mine - oracle(y, operator, truth, level, given.cache)
                gains.append(gain)
                cells.append(f"{mine:6.2f} {gain:+5.2f}")
            print(f"{name:24} " + "   ".join(cells), flush=True)
        print(f"least {min(gains):+.2f}, mean {sum(gains) / len(gains):+.2f}")


if __name__ == "__main__":
    main()
