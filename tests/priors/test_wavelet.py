"""The wavelet transform against PyWavelets, and soft thresholding."""

from typing import Any

import pytest
import pywt
import torch
from torch import Tensor

from tests.engine import DOUBLE, difference, normal
from unfold.errors import ConfigError
from unfold.priors.wavelet import LOW_PASS, Wavelet, soft

families = pytest.mark.parametrize("family", sorted(LOW_PASS))


@families
@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_the_transform_is_orthogonal(family: str, dtype: torch.dtype):
    W = Wavelet(family, 3)
    for side in ((8, 8), (8, 24), (16, 40), (230, 180), (7, 5), (1, 9), (1, 1)):
        x = normal(2, 2, *side, dtype=dtype)
        bands = W.transform(x)
        assert difference(W.inverse(bands), x) < 1e-14
        energy = sum(float(b.abs().square().sum()) for b in bands)
        assert energy == pytest.approx(float(x.abs().square().sum()), rel=1e-13)
        assert sum(b.numel() for b in bands) == x.numel() and len(bands) == 10


# PyWavelets starts its periodic filters elsewhere: its transform is ours of the image moved so far.
cases = pytest.mark.parametrize(
    "family, levels, moved",
    [("haar", 1, 0), ("haar", 3, 0), ("db2", 1, -1), ("db2", 2, 1), ("db2", 3, 1)],
)


def theirs(x: Tensor, family: str, levels: int, moved: int) -> list[Any]:
    image = x[0, 0].roll((moved, moved), (0, 1)).numpy()
    return pywt.wavedec2(image, family, mode="periodization", level=levels)


@cases
def test_the_bands_are_those_of_pywavelets(family: str, levels: int, moved: int):
    x = normal(1, 1, 32, 48)
    coarse, *details = theirs(x, family, levels, moved)
    flat = [coarse, *(band for level in details for band in level)]
    for got, want in zip(Wavelet(family, levels).transform(x), flat, strict=True):
        sizes = [b.abs().flatten().sort().values for b in (got, torch.from_numpy(want))]
        assert difference(*sizes) < 1e-12  # their bands may start elsewhere and flip their sign


@cases
def test_the_prox_is_that_made_of_pywavelets(family: str, levels: int, moved: int):
    v = normal(1, 1, 32, 32)
    coarse, *details = theirs(v, family, levels, moved)
    shrunk = [tuple(pywt.threshold(b, 0.4, "soft") for b in level) for level in details]
    image = pywt.waverec2([coarse, *shrunk], family, mode="periodization")
    want = torch.from_numpy(image).roll((-moved, -moved), (0, 1))
    assert difference(Wavelet(family, levels).prox(v, 0.4)[0, 0], want) < 1e-12


def test_soft_thresholding_by_cases():
    v = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0], dtype=DOUBLE)
    assert torch.equal(soft(v, 0.5), torch.tensor([-1.5, 0.0, 0.0, 0.0, 1.5], dtype=DOUBLE))
    z = torch.tensor([3 + 4j, 0.3 - 0.4j, 0j], dtype=torch.complex128)
    assert (
        difference(soft(z, 1.0), torch.tensor([0.8 * (3 + 4j), 0j, 0j], dtype=torch.complex128))
        < 1e-15
    )
    assert difference(soft(v + 0j, 0.5).real, soft(v, 0.5)) == 0


def test_values_without_meaning_are_refused():
    with pytest.raises(
        ConfigError, match=r"Wavelet.levels = 0: must be a whole number from 1 to 12"
    ):
        Wavelet(levels=0)
