"""Operators of every family in the shapes that break things, and the physics in configs/physics."""

import functools
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor

from tests.shipped import files
from unfold.physics.base import Physics
from unfold.physics.blur.convolution import CircularConvolution, ValidConvolution
from unfold.physics.blur.super_resolution import Downsampling
from unfold.physics.denoising import Identity
from unfold.physics.inpainting import Mask
from unfold.physics.operator import Operator

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = sorted(files("physics"))
NOISES = sorted(file.stem for file in (CONFIGS / "physics" / "noise").glob("*.yaml"))
NOISES.remove("own")  # which only a mixture has
NOISES.remove("measured")  # which simulates nothing


def composed(*overrides: str) -> object:
    """The configuration of these choices."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(overrides=list(overrides))


@functools.lru_cache
def physics_of(name: str, *overrides: str) -> Physics:
    """The physics of a file in configs/physics."""
    return instantiate(composed(f"+physics={name}", *overrides).physics, _convert_="all")


def kernel(*shape: int, seed: int = 0) -> Tensor:
    """A well-conditioned kernel without symmetry: a positive random one and a strong centre."""
    h = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    h = 0.5 * h / h.sum((-2, -1), keepdim=True)
    h[..., shape[-2] // 2, shape[-1] // 2] += 1
    return h


def mask(*shape: int) -> Tensor:
    """Weights of which some are 0."""
    m = torch.rand(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.where(m < 0.3, 0, m)


OPERATORS: dict[str, Operator] = {
    "identity": Identity((2, 3, 5)),
    "mask": Mask(mask(3, 2, 5, 7)),
    "mask shared": Mask(mask(1, 1, 1, 6).expand(-1, 2, -1, -1)),
    "circular": CircularConvolution(kernel(1, 1, 3, 3), (1, 7, 8)),
    "circular per sample": CircularConvolution(kernel(3, 1, 3, 5), (2, 8, 9)),
    "circular per channel": CircularConvolution(kernel(3, 2, 5, 3), (2, 9, 8)),
    "circular whole image": CircularConvolution(kernel(1, 1, 5, 5), (1, 5, 5)),
    "circular 1 x n": CircularConvolution(kernel(2, 1, 1, 3), (1, 1, 12)),
    "valid": ValidConvolution(kernel(1, 1, 3, 3), (1, 7, 8)),
    "valid per sample": ValidConvolution(kernel(3, 2, 3, 5), (2, 8, 9)),
    "valid one pixel": ValidConvolution(kernel(1, 1, 5, 7), (1, 5, 7)),
    "valid 1 x n": ValidConvolution(kernel(2, 1, 1, 3), (1, 1, 12)),
    "downsampling": Downsampling(kernel(1, 1, 3, 3), (1, 8, 6), 2),
    "downsampling per sample": Downsampling(kernel(3, 2, 3, 5), (2, 6, 9), 3),
    "downsampling by 1": Downsampling(kernel(2, 1, 1, 3), (1, 1, 8), 1),
}
