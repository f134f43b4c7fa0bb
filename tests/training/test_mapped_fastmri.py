"""Weights of fastMRI's U-Net and variational network: parity with their formulas, written out."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, conv_transpose2d, leaky_relu, pad

from tests.engine import difference, normal, uniform
from unfold.algorithms.e2e_varnet import central_block
from unfold.config.build import verify
from unfold.config.compose import compose
from unfold.config.weights import start_from
from unfold.denoisers.fastmri_unet import FastMRIUNet
from unfold.errors import CheckpointError, IncompatibleError
from unfold.random import Draws
from unfold.training.checkpoints.foreign import load_network

State = dict[str, Tensor]


def unet(channels: int, width: int, pools: int, prefix: str = "", seed: int = 0) -> State:
    """Random weights under the names of fastMRI's U-Net."""
    widths = [channels, *(width * 2**i for i in range(pools + 1))]
    state: State = {}

    def block(name: str, inputs: int, outputs: int) -> None:
        state[f"{name}.layers.0.weight"] = normal(outputs, inputs, 3, 3, seed=seed + len(state))
        state[f"{name}.layers.4.weight"] = normal(outputs, outputs, 3, 3, seed=seed + len(state))

    for i in range(pools):
        block(f"down_sample_layers.{i}", widths[i], widths[i + 1])
    block("conv", widths[-2], widths[-1])
    for i, w in enumerate(widths[-2:0:-1]):
        transposed = normal(2 * w, w, 2, 2, seed=seed + 500 + i)
        state[f"up_transpose_conv.{i}.layers.0.weight"] = transposed
        block(f"up_conv.{i}.0" if i == pools - 1 else f"up_conv.{i}", 2 * w, w)
    state[f"up_conv.{pools - 1}.1.weight"] = normal(channels, width, 1, 1, seed=seed + 600)
    state[f"up_conv.{pools - 1}.1.bias"] = normal(channels, seed=seed + 601)
    return {prefix + name: t for name, t in state.items()}


def activated(x: Tensor) -> Tensor:
    m, s2 = x.mean((-2, -1), keepdim=True), x.var((-2, -1), unbiased=False, keepdim=True)
    return leaky_relu((x - m) / (s2 + 1e-5).sqrt(), 0.2)


def run_unet(w: State, x: Tensor, pools: int, prefix: str = "") -> Tensor:
    def block(name: str, x: Tensor) -> Tensor:
        for part in (0, 4):
            x = activated(conv2d(x, w[f"{prefix}{name}.layers.{part}.weight"], padding=1))
        return x

    skips = []
    for i in range(pools):
        skips.append(block(f"down_sample_layers.{i}", x))
        x = avg_pool2d(skips[-1], 2)
    x = block("conv", x)
    for i in range(pools):
        transposed = w[f"{prefix}up_transpose_conv.{i}.layers.0.weight"]
        x = torch.cat((activated(conv_transpose2d(x, transposed, stride=2)), skips.pop()), 1)
        x = block(f"up_conv.{i}.0" if i == pools - 1 else f"up_conv.{i}", x)
    last = f"{prefix}up_conv.{pools - 1}.1"
    return conv2d(x, w[f"{last}.weight"], w[f"{last}.bias"])


def run_normalised(w: State, x: Tensor, pools: int, prefix: str) -> Tensor:
    """Of complex images (B, H, W): each part normalised, zeros around it to multiples of 16."""
    parts = torch.stack((x.real, x.imag), 1)
    m, s = parts.mean((2, 3), keepdim=True), parts.std((2, 3), keepdim=True)
    (h, width), more = x.shape[1:], [-n % 16 for n in x.shape[1:]]
    top, left = more[0] // 2, more[1] // 2
    padded = pad((parts - m) / s, (left, more[1] - left, top, more[0] - top))
    found = m + s * run_unet(w, padded, pools, prefix)[..., top : top + h, left : left + width]
    return torch.complex(found[:, 0], found[:, 1])


def centre(mask: np.ndarray) -> np.ndarray:
    """The acquired columns that are as many on both sides of the middle, or the middle one."""
    half, count = len(mask) // 2, 0
    while count < half and mask[half - count - 1] and mask[half + count]:
        count += 1
    kept = np.zeros(len(mask), bool)
    kept[half - count : half + max(count, 1)] = True
    return kept


def run_varnet(w: State, k: Tensor, mask: Tensor, cascades: int, pools: int) -> Tensor:
    """k: (J, H, W), frequency 0 in the middle of each axis, as is the origin of the image."""
    axes = (-2, -1)

    def inverse(k: Tensor) -> Tensor:
        return torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(k, axes), norm="ortho"), axes)

    def forward(x: Tensor) -> Tensor:
        return torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(x, axes), norm="ortho"), axes)

    first = k * mask
    middle = torch.from_numpy(centre(mask.numpy()))
    maps = run_normalised(w, inverse(first * middle), pools, "sens_net.norm_unet.unet.")
    maps = maps / maps.abs().square().sum(0).sqrt()
    k = first
    for i in range(cascades):
        image = (maps.conj() * inverse(k)).sum(0)
        refined = run_normalised(w, image[None], pools, f"cascades.{i}.model.unet.")
        soft = w[f"cascades.{i}.dc_weight"] * mask * (k - first)
        k = k - soft - forward(maps * refined)
    return inverse(k).abs().square().sum(0).sqrt()


@torch.no_grad()
def test_the_unet_of_fastmri_is_ours(tmp_path):
    state, v = unet(1, 3, 3), uniform(2, 1, 32, 16)
    torch.save({"state_dict": state}, tmp_path / "unet.pt")
    network = FastMRIUNet(1, 4, 3).double()
    report = load_network(network, tmp_path / "unet.pt", "fastmri_unet")
    assert "left over: none" in report and "never run on a released file" in report
    m, s = v.mean((2, 3), keepdim=True), v.std((2, 3), keepdim=True)
    want = m + s * run_unet(state, (v - m) / s, 3)
    assert difference(network(v, 0.1), want) < 1e-12 * float(want.norm())
    assert bool(network(torch.ones(1, 1, 5, 5, dtype=v.dtype), 0.1).isfinite().all())


SMALL = ["model.iterations=2", "algo.refine.width=3", "algo.calibration.width=2"]
SMALL += ["algo.refine.levels=3", "algo.calibration.levels=3", "physics.coils=3"]


@pytest.mark.parametrize("real", [True, False])
@torch.no_grad()
def test_the_variational_network_of_fastmri_is_ours_with_its_maps(tmp_path, real):
    state = unet(2, 2, 2, "sens_net.norm_unet.unet.", 7)
    for i in range(2):
        state |= unet(2, 3, 2, f"cascades.{i}.model.unet.", 1000 * (i + 1))
        state[f"cascades.{i}.dc_weight"] = torch.tensor([0.8 + 0.3 * i], dtype=torch.float64)
    path = tmp_path / "varnet.safetensors"
    save_file(state, path)
    words = ["architecture=e2e_varnet", *SMALL, f"init_from={path}", "map=fastmri_varnet"]
    (job,) = verify(compose([*words, f"physics.real_images={str(real).lower()}"]))
    net = job.components.reconstructor.double()
    report = start_from(net, job.settings)
    assert "left over: none" in report and "never run on a released file" in report
    x = (
        uniform(2, 1, 20, 18)
        if real
        else torch.complex(uniform(2, 1, 20, 18), normal(2, 1, 20, 18))
    )
    y, operator = job.components.physics.measure(x, Draws(0, range(2), dtype=torch.float64))
    ours = net(y, operator)
    assert ours.is_complex() != real
    mask = (operator.operator if real else operator).mask
    for i in range(2):
        coils = torch.fft.ifft2(y[i, 0], norm="ortho")
        # Theirs has the origin of an image in its middle: a phase of the frequencies.
        k = torch.fft.fft2(torch.fft.ifftshift(coils, (-2, -1)), norm="ortho")
        shifted = torch.fft.fftshift(mask[i, 0, 0])
        want = run_varnet(state, torch.fft.fftshift(k, (-2, -1)), shifted, 2, 2)
        assert difference(ours[i, 0].real, want) < 1e-6 * float(want.norm())
        assert real or float(ours.imag.abs().max()) == 0


def test_the_centre_is_where_all_frequencies_are_acquired():
    g = np.random.default_rng(0)
    for size in (8, 18):
        for _ in range(20):
            mask = g.random(size) < 0.8
            found = central_block(torch.from_numpy(np.fft.ifftshift(mask))[None, None] * 1.0)
            assert (np.fft.fftshift(found[0, 0].numpy()) == centre(mask)).all(), mask
    assert bool((central_block(torch.ones(1, 1, 1, 8)) == 1).all())
    plane = torch.ones(1, 1, 8, 8)
    plane[..., 2, 5] = 0  # of both axes: frequencies 2 and -3
    kept = np.fft.fftshift(central_block(plane)[0, 0].numpy()).nonzero()
    assert {*kept[0], *kept[1]} == {2, 3, 4, 5} and len(kept[0]) == 16


def test_weights_of_other_cascades_and_other_measurements_are_refused(tmp_path):
    path = tmp_path / "varnet.safetensors"
    save_file(unet(2, 2, 2, "sens_net.norm_unet.unet."), path)
    words = ["architecture=e2e_varnet", *SMALL, f"init_from={path}", "map=fastmri_varnet"]
    (job,) = verify(compose(words))
    with pytest.raises(CheckpointError, match="none is loaded") as caught:
        start_from(job.components.reconstructor, job.settings)
    assert "algo.refine.0.conv.layers.0.weight" in "".join(caught.value.lines)
    for physics in ("mri", "denoising"):
        (job,) = verify(compose(["architecture=e2e_varnet", *SMALL[:-1], f"physics={physics}"]))
        x = uniform(1, 1, 16, 16).to(torch.complex64 if physics == "mri" else torch.float32)
        y, operator = job.components.physics.measure(x, Draws(0, (0,)))
        with pytest.raises(IncompatibleError, match=r"Take MultiCoilMRI, or .*LearnedPrimalDual"):
            job.components.reconstructor(y, operator)
