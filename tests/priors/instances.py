"""The priors under test: every file in configs/prior, and what no file ships."""

from dataclasses import dataclass, replace

import torch

from tests.engine import DOUBLE, normal
from tests.shipped import build, files
from unfold.physics.blur.convolution import CircularConvolution
from unfold.priors.box import Box
from unfold.priors.composite import Sum, Weighted
from unfold.priors.denoiser_priors import DenoiserPrior
from unfold.priors.l1 import L1
from unfold.priors.prior import Prior
from unfold.priors.tikhonov import GeneralTikhonov, Tikhonov
from unfold.priors.tv import TotalVariation
from unfold.priors.wavelet import Wavelet, WaveletBands

GAP = 1e-9
"""The relative duality gap of an inexact prox in these tests."""


def everything() -> dict[str, Prior]:
    """Every prior by name, its networks with weights that matter."""
    found: dict[str, Prior] = {name: build(path) for name, path in files("prior").items()}
    h = normal(1, 1, 3, 3, seed=2)
    found |= {
        "haar": Wavelet("haar", 2),
        "bands": WaveletBands("db2", 1, weights=[0.0, 0.5, 2.0]),
        "weighted": Weighted(L1(), 0.3),
        "nonnegative_l1": Sum((Box(0.0, torch.inf), Weighted(L1(), 0.7))),
        "ridge_in_a_box": Sum((Tikhonov(), Box(-0.3, 0.6), Box(-1.0, 0.4))),
        "blurred": GeneralTikhonov(CircularConvolution(h, (2, 4, 8))),
    }
    return {name: _double(prior) for name, prior in found.items()}


def _double(prior: Prior) -> Prior:
    if not isinstance(prior, DenoiserPrior):
        return prior
    torch.manual_seed(0)
    network = prior.denoiser.double()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn(p.shape, dtype=DOUBLE))
    return replace(prior, denoiser=network)


@dataclass(frozen=True)
class Facts:
    """What is known of a prior, beyond what it claims.

    degree: g(sx) = s^degree g(x); 0 of the indicator of a cone; None where it has none.
    flat: whether g(x + c) = g(x) for a constant image c.
    orders: whether it orders intensities, and refuses complex images.
    """

    degree: int | None = 1
    flat: bool = False
    orders: bool = False


ALL = everything()
FACTS = {
    "tikhonov": Facts(degree=2),
    "general_tikhonov": Facts(degree=2, flat=True),
    "blurred": Facts(degree=2),
    "box": Facts(degree=None, orders=True),
    "nonnegative": Facts(degree=0, orders=True),
    "nonnegative_l1": Facts(orders=True),
    "ridge_in_a_box": Facts(degree=None, orders=True),
} | dict.fromkeys(
    ("tv", "tv_anisotropic", "wavelet", "wavelet_bands", "haar", "bands"), Facts(flat=True)
)
NONCONVEX = {name for name, prior in ALL.items() if isinstance(prior, DenoiserPrior)}
"""Networks; everything else is held to be convex, and its prox to be exact."""


def facts(name: str) -> Facts:
    """Those of a prior; a norm without invariance where nothing else is said."""
    return FACTS.get(name, Facts())


def having(what: str) -> list[str]:
    """The names of the priors that offer something."""
    return sorted(name for name, prior in ALL.items() if what in prior.offers())


def convex(what: str = "prox") -> list[str]:
    """The names of the convex ones among them."""
    return [name for name in having(what) if name not in NONCONVEX]


def inexact(name: str) -> bool:
    """Whether the prox is found by iteration, to the gap of these tests."""
    return isinstance(ALL[name], TotalVariation)
