"""A network that halves its images has a verdict that says which sides it takes."""

import pytest
import torch
from torch import nn

from unfold.denoisers.denoiser import Denoiser
from unfold.priors.denoiser_priors import RED, PnP
from unfold.testing.priors import check_prior


class Halving(Denoiser):
    """Pools so often, and repeats pixels as often."""

    uses_sigma = False

    def __init__(self, levels):
        super().__init__()
        self.channels, self.levels = 1, levels
        self.weight = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

    def forward(self, v, sigma):
        small = nn.functional.avg_pool2d(v, 2**self.levels)
        return v - self.weight * nn.functional.interpolate(small, scale_factor=2**self.levels)


@pytest.mark.parametrize("kind", [PnP, RED])
@pytest.mark.parametrize(("levels", "multiple", "needed"), [(1, 1, 2), (4, 8, 16), (2, 6, 12)])
def test_the_sides_that_a_network_needs_are_the_remedy(kind, levels, multiple, needed):
    found = check_prior(kind(Halving(levels)), multiple=multiple)
    (failed,) = {one.name for one in found.failed}
    assert (
        failed == f"D keeps sides that are multiples of {multiple}: set data.multiple_of={needed}"
    )
    assert check_prior(kind(Halving(levels)), multiple=needed).passed


def test_a_network_that_keeps_no_sides_says_what_to_do():
    class Shrinking(Halving):
        def forward(self, v, sigma):
            return v[..., 1:] * self.weight

    failed = check_prior(PnP(Shrinking(0))).failed
    assert "pad inside the network" in failed[0].name
