"""What the operators of a batch cost next to a training step: to sample, to measure, to bound.

Prints, for every physics that one network on grey images can be trained under, the time of a step
of PGD x DnCNN, that of sampling the operators, measuring through them and finding the bounds of
their norms that step sizes are relative to, and last the largest share:

    python benchmarks/measurement_time.py [--steps 5] [PHYSICS ...]

The step is the one of the shipped configuration on one thread: measure, reconstruct, compare,
differentiate, move.
"""

import argparse
from collections.abc import Sequence

import torch
from overhead import bare_step, seconds

from unfold.config.build import build, build_training, verify
from unfold.config.compose import compose
from unfold.data.example import Batch
from unfold.physics.base import Examples
from unfold.random import Draws

BAR = 0.05
NAMES = (
    "denoising",
    "motion_blur",
    "gaussian_blur",
    "lens_blur",
    "valid_blur",
    "padded_blur",
    "saturated_blur",
    "varying_blur",
    "super_resolution",
    "inpainting",
    "compressed_sensing",
    "block_compressed_sensing",
    "single_pixel",
    "mri",
    "poisson_disc_mri",
    "multicoil_mri",
    "tomography",
    "fan_beam_tomography",
    "limited_angle_tomography",
    "mixture",
    "mixed_shapes",
    "curriculum",
    "box_inpainting",
    "line_inpainting",
    "gaussian_sensing",
    "chain",
    "stack",
)
SIZES = {"single_pixel": ("data.crop=64",)}
"""Sizes that Hadamard patterns need."""


def share(name: str, steps: int) -> tuple[float, float, int]:
    """Seconds of a step, of its operators, and how many images it has."""
    (checked,) = verify(compose([f"physics={name}", "evaluation=none", *SIZES.get(name, ())]))
    parts = build(checked)
    training = build_training(checked, parts)
    net = parts.reconstructor
    optimizer = training.optimizer.build(p for p in net.parameters() if p.requires_grad)
    images = next(iter(parts.data.train_loader())).images
    batch = Batch(Examples(images), torch.arange(len(images)), 0)
    draws = Draws(training.options.seed, range(len(images)), "train")
    step = seconds(bare_step(training, optimizer, batch), steps)

    def operators() -> None:
        _ = training.physics.measure(images, draws).operator.norm_bound

    return step, seconds(operators, 4 * steps), len(images)


def run(names: Sequence[str], steps: int) -> None:
    """Print a line for each physics, and the verdict."""
    worst, where = 0.0, ""
    for name in names:
        step, measured, count = share(name, steps)
        print(
            f"{name:26} step of {count} {1e3 * step:8.1f} ms, its operators "
            f"{1e3 * measured:7.2f} ms: {measured / step:6.2%}",
            flush=True,
        )
        worst, where = max((worst, where), (measured / step, name))
    print(f"largest share: {worst:.2%} ({where}); the bar is {BAR:.0%}")


def main() -> None:
    """Parse the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("names", nargs="*", default=NAMES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    run(options.names, options.steps)


if __name__ == "__main__":
    main()
