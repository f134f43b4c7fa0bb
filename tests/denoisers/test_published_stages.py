"""CSF and TNRD with weights in their published layout: SciPy's filters, stage by stage.

Sources: get_filters.m, to_model.m and csf_predict.m of Schmidt's shrinkage-fields;
save_trained_model.m and denoisingOneStepGMixMFs.m of Chen's TNRD codes.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.fft import idctn
from scipy.ndimage import convolve, correlate
from torch import Tensor

import unfold
from tests.engine import normal, uniform
from unfold.denoisers.mappings import convert
from unfold.errors import CheckpointError
from unfold.random import Draws
from unfold.training.checkpoints.foreign import load_whole

STAGES = 2


def published(filters: int, size: int, knots: int, weight: float) -> dict[str, Tensor]:
    """Random stages: filters of the cosine basis by columns, functions of intensities up to 255."""
    state = {}
    for k in range(STAGES):
        state[f"stages.{k}.filters"] = normal(size**2 - 1, filters, seed=k).float()
        state[f"stages.{k}.weights"] = weight * normal(knots, filters, seed=9 + k).float()
        state[f"stages.{k}.lambda"] = torch.tensor([0.2 + 0.3 * k])
    return state


def basis(n: int, transposed: bool) -> np.ndarray:
    """The images of the inverse transform of each unit array, in MATLAB's order, by columns."""
    found = []
    for i in range(1, n * n):
        d = np.zeros((n, n))
        d[i % n, i // n] = 1  # a single index counts down the columns
        found.append(idctn(d.T if transposed else d, norm="ortho").ravel(order="F"))
    return np.stack(found, 1)


def function(z: np.ndarray, weights: np.ndarray) -> np.ndarray:
    means = 10.0 * (np.arange(len(weights)) - len(weights) // 2)
    return np.exp(-0.005 * (z[..., None] - means) ** 2) @ weights


def numbers(state: dict[str, Tensor], k: int) -> tuple[np.ndarray, np.ndarray, float]:
    C, W = (state[f"stages.{k}.{n}"].double().numpy() for n in ("filters", "weights"))
    return C, W, float(state[f"stages.{k}.lambda"])


def tnrd(state: dict[str, Tensor], noisy: np.ndarray, n: int) -> np.ndarray:
    u = noisy
    for k in range(STAGES):
        C, W, weight = numbers(state, k)
        g = weight * (u - noisy)
        for c, w in zip(C.T, W.T, strict=True):
            K = (basis(n, False) @ c / np.linalg.norm(c)).reshape(n, n, order="F")
            rates = function(correlate(u, K, mode="reflect"), w)
            g = g + correlate(rates, K[::-1, ::-1], mode="reflect")
        u = u - g
    return u


def csf(state: dict[str, Tensor], noisy: np.ndarray, n: int) -> np.ndarray:
    x = y = np.pad(noisy, 10, mode="edge")
    for k in range(STAGES):
        C, W, weight = numbers(state, k)
        above, below = weight * y, weight
        for c, w in zip(C.T, W.T, strict=True):
            f = (basis(n, True) @ c).reshape(n, n, order="F")
            above = above + correlate(function(convolve(x, f, mode="wrap"), w), f, mode="wrap")
            below = below + abs(np.fft.fft2(f, x.shape)) ** 2
        x = np.fft.ifft2(np.fft.fft2(above) / below).real
        x = np.pad(x[10:-10, 10:-10], 10, mode="edge")
    return x[10:-10, 10:-10]


@pytest.mark.parametrize(
    ("name", "reference", "state", "size", "border"),
    # Beyond the border theirs mirrors the image, and ours repeats its last row and column.
    [("tnrd", tnrd, published(24, 5, 63, 1.0), 5, 9), ("csf", csf, published(8, 3, 53, 5.0), 3, 0)],
)
@torch.no_grad()
def test_published_stages_give_the_published_images(
    tmp_path: Path, name: str, reference, state: dict[str, Tensor], size: int, border: int
):
    options = ("physics=denoising", "data.channels=1", f"model.iterations={STAGES}")
    experiment = unfold.build(f"architecture={name}", *options)
    net = experiment.reconstructor
    torch.save(state, tmp_path / "released.pth")
    report = load_whole(net, tmp_path / "released.pth", name)
    assert "6 tensors matched, 6 of them converted" in report
    assert "never run on a released file" in report
    noisy = uniform(1, 1, 40, 36, seed=3).float()
    operator = experiment.physics.sample(Draws(0, (0,)), (1, 40, 36))
    want = reference(state, 255 * noisy[0, 0].double().numpy(), size)
    inner = (slice(border, 40 - border), slice(border, 36 - border))
    ours = 255 * net(noisy, operator, noise_level=0.1)[0, 0].double().numpy()
    assert abs(want[inner] - 255 * noisy[0, 0].numpy()[inner]).mean() > 1
    np.testing.assert_allclose(ours[inner], want[inner], rtol=0, atol=0.1)


def test_what_a_mapping_of_stages_does_not_know_is_listed():
    state = published(8, 3, 53, 5.0)
    with pytest.raises(CheckpointError, match=r"none is loaded.\n.*left over: stages.0.bias"):
        convert("csf", state | {"stages.0.bias": torch.zeros(1)}, {}, "Reconstructor", 1)
