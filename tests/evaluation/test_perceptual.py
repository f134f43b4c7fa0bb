"""Perceptual metrics agree with the formulas that were published, and load local files only."""

import socket

import numpy as np
import pytest
import torch
import torchmetrics
from scipy.signal import convolve2d
from torch.nn import functional as F

from unfold.errors import CheckpointError, ConfigError, ShapeError
from unfold.evaluation.metrics import ImageMetrics, haarpsi, higher_is_better, vif
from unfold.evaluation.perceptual import DISTS, LPIPS


def pair(channels, height, width, noise=0.1):
    g = torch.Generator().manual_seed(0)
    truth = torch.rand(2, channels, height // 4 + 1, width // 4 + 1, generator=g)
    truth = F.interpolate(truth, (height, width), mode="bilinear")
    return truth + noise * torch.randn(truth.shape, generator=g), truth


def same(image, kernel):
    """conv2(image, kernel, 'same') as MATLAB aligns it, as the authors of HaarPSI write it."""
    turned = convolve2d(np.rot90(image, 2), np.rot90(kernel, 2), mode="same")
    return np.rot90(turned, 2)


def published_haarpsi(a, b):
    """HaarPSI of the authors' script, of two images (C, H, W) in [0, 255]."""
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    images = [np.tensordot(to_yiq, x, 1) if len(x) == 3 else x for x in (a, b)]
    images = [np.stack([same(p, np.ones((2, 2)) / 4)[::2, ::2] for p in x]) for x in images]
    found = []
    for x in images:
        coefficients = []
        for scale in (1, 2, 3):
            h = 2.0**-scale * np.ones((2**scale, 2**scale))
            h[: len(h) // 2] *= -1
            coefficients.append([same(x[0], h), same(x[0], h.T)])
        found.append(np.abs(coefficients))
    A, B = found
    weights = [np.maximum(A[2, o], B[2, o]) for o in (0, 1)]
    similar = [
        sum((2 * A[s, o] * B[s, o] + 30) / (A[s, o] ** 2 + B[s, o] ** 2 + 30) for s in (0, 1)) / 2
        for o in (0, 1)
    ]
    if len(a) == 3:
        P, Q = ([np.abs(same(p, np.ones((2, 2)) / 4)) for p in x[1:]] for x in images)
        parts = [(2 * p * q + 30) / (p**2 + q**2 + 30) for p, q in zip(P, Q, strict=True)]
        similar, weights = [*similar, sum(parts) / 2], [*weights, sum(weights) / 2]
    logistic = [1 / (1 + np.exp(-4.2 * s)) * w for s, w in zip(similar, weights, strict=True)]
    share = np.sum(logistic) / np.sum(weights)
    return (np.log(share / (1 - share)) / 4.2) ** 2


def published_vif(dist, ref):
    """vifp_mscale.m, of two images (H, W) in [0, 255]."""
    numerator = denominator = 0.0
    for scale in (1, 2, 3, 4):
        n = 2 ** (4 - scale + 1) + 1
        t = np.arange(n) - (n - 1) / 2
        win = np.exp(-(t[:, None] ** 2 + t**2) / (2 * (n / 5) ** 2))
        win /= win.sum()

        def mean(x, win=win):
            return convolve2d(x, win, mode="valid")

        if scale > 1:
            ref, dist = mean(ref)[::2, ::2], mean(dist)[::2, ::2]
        m, n_ = mean(ref), mean(dist)
        s1 = np.maximum(mean(ref * ref) - m * m, 0)
        s2 = np.maximum(mean(dist * dist) - n_ * n_, 0)
        s12 = mean(ref * dist) - m * n_
        g = s12 / (s1 + 1e-10)
        sv = s2 - g * s12
        sv[g < 0], g[g < 0] = s2[g < 0], 0
        sv = np.maximum(sv, 1e-10)
        numerator += np.log10(1 + g**2 * s1 / (sv + 2)).sum()
        denominator += np.log10(1 + s1 / 2).sum()
    return numerator / denominator


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("data_range", [1.0, 2.0])
def test_haarpsi_and_vif_are_those_of_the_authors_scripts(channels, data_range):
    x, truth = pair(channels, 53, 48)
    for i in range(2):
        a, b = (255 / data_range * t[i].double().numpy() for t in (x, truth))
        found = float(haarpsi(x, truth, data_range)[i])
        assert found == pytest.approx(published_haarpsi(a, b), rel=1e-4)
        want = np.mean([published_vif(p, q) for p, q in zip(a, b, strict=True)])
        assert float(vif(x, truth, data_range)[i]) == pytest.approx(want, rel=1e-3)


def test_they_are_one_for_equal_images_undefined_for_black_ones_and_refuse_small_ones():
    _, truth = pair(1, 48, 48)
    metrics = ImageMetrics(("haarpsi", "vif"))
    for values in metrics(truth, truth).values():
        torch.testing.assert_close(values, torch.ones(2), atol=1e-4, rtol=0)
    black = torch.zeros(1, 1, 48, 48)
    assert metrics(black, black)["vif"].isnan() and metrics(black, black)["haarpsi"].isnan()
    assert higher_is_better("vif") and higher_is_better("haarpsi")
    with pytest.raises(ShapeError, match=r"vif expects sides of 41 pixels or more, got \(2, 1, 40"):
        vif(truth[..., :40, :], truth[..., :40, :], 1.0)
    with pytest.raises(ShapeError, match=r"haarpsi expects 1 or 3 channels, got 2"):
        haarpsi(truth.expand(-1, 2, -1, -1), truth.expand(-1, 2, -1, -1), 1.0)


CONVOLUTIONS = {"alex": (0, 3, 6, 8, 10), "vgg": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)}
"""The numbers of the convolutions in torchvision's networks."""
COMPARED = {"alex": (0, 3, 6, 8, 10), "vgg": (2, 7, 14, 21, 28)}


def features(state, net, x, pool):
    """The published networks as functions of their weights, in float64."""
    for i in CONVOLUTIONS[net]:
        if (net == "alex" and i in (3, 6)) or (net == "vgg" and i in (5, 10, 17, 24)):
            x = pool(x)
        at = {0: (4, 2), 3: (1, 2)} if net == "alex" else {}
        stride, padding = at.get(i, (1, 1))
        w, b = (state[f"features.{i}.{n}"].double() for n in ("weight", "bias"))
        x = F.relu(F.conv2d(x, w, b, stride, padding))
        if i in COMPARED[net]:
            yield x


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files as torchvision's, of random weights that keep the size of the features."""
    found, g = {}, torch.Generator().manual_seed(1)
    vgg = (*[64] * 2, *[128] * 2, *[256] * 3, *[512] * 6)
    widths = {"alex": (64, 192, 384, 256, 256), "vgg": vgg}
    for net, numbers in CONVOLUTIONS.items():
        state, channels = {}, 3
        for i, width in zip(numbers, widths[net], strict=True):
            side = {0: 11, 3: 5}.get(i, 3) if net == "alex" else 3
            w = torch.empty(width, channels, side, side)
            state[f"features.{i}.weight"] = torch.nn.init.kaiming_normal_(w, generator=g)
            state[f"features.{i}.bias"], channels = 0.1 * torch.randn(width, generator=g), width
        state["classifier.6.bias"] = torch.zeros(1000)
        found[net] = tmp_path_factory.mktemp("weights") / f"{net}.pth", state
        torch.save(state, found[net][0])
    return found


def head(name):
    file = f"{torchmetrics.__path__[0]}/functional/image/{name}"
    return {k: t.double() for k, t in torch.load(file, "cpu", weights_only=True).items()}


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_is_the_published_formula_without_a_download(weights, net, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("connects"))
    file, state = weights[net]
    x, truth = pair(1, 64, 68)
    w, total = head(f"lpips_models/{net}.pth"), 0.0
    shift, scale = (
        torch.tensor(t, dtype=torch.double).reshape(3, 1, 1)
        for t in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450))
    )
    pool = (lambda t: F.max_pool2d(t, 3, 2)) if net == "alex" else (lambda t: F.max_pool2d(t, 2))
    sides = (
        features(state, net, (2 * t.double().expand(-1, 3, -1, -1) - 1 - shift) / scale, pool)
        for t in (x, truth)
    )
    for k, (a, b) in enumerate(zip(*sides, strict=True)):
        a, b = (t / t.square().sum(1, keepdim=True).sqrt().clamp(min=1e-10) for t in (a, b))
        d = ((a - b) ** 2 * w[f"lin{k}.model.1.weight"]).sum(1)
        total = total + d.mean((1, 2))
    metric = LPIPS(str(file))
    found = ImageMetrics(("psnr",), extra={"lpips": metric})(x, truth)["lpips"]
    torch.testing.assert_close(found.double(), total, rtol=1e-4, atol=1e-7)
    assert not higher_is_better("lpips", "unfold.evaluation.perceptual.LPIPS")


def test_dists_is_the_published_formula(weights):
    file, state = weights["vgg"]
    x, truth = pair(3, 64, 70)
    hann = np.hanning(5)[1:-1]
    h = torch.from_numpy(np.outer(hann, hann) / np.outer(hann, hann).sum())

    def pool(t):
        return (
            (
                F.conv2d(t.square().flatten(0, 1)[:, None], h[None, None], stride=2, padding=1)
                + 1e-12
            )
            .sqrt()
            .unflatten(0, t.shape[:2])[:, :, 0]
        )

    mean, std = (
        torch.tensor(t, dtype=torch.double).reshape(3, 1, 1)
        for t in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    sides = (
        [t.double(), *features(state, "vgg", (t.double() - mean) / std, pool)] for t in (x, truth)
    )
    w = head("dists_models/weights.pt")
    whole, at, near = w["alpha"].sum() + w["beta"].sum(), 0, 0.0
    for a, b in zip(*sides, strict=True):
        a, b = a.flatten(2), b.flatten(2)
        m, n = a.mean(2), b.mean(2)
        both = ((a - m[..., None]) * (b - n[..., None])).mean(2)
        var = a.var(2, correction=0) + b.var(2, correction=0)
        part = slice(at, at := at + a.shape[1])
        near = near + (w["alpha"][0, part, 0, 0] * (2 * m * n + 1e-6) / (m**2 + n**2 + 1e-6)).sum(1)
        near = near + (w["beta"][0, part, 0, 0] * (2 * both + 1e-6) / (var + 1e-6)).sum(1)
    found = ImageMetrics(("psnr",), extra={"dists": DISTS(str(file))})(x, truth)["dists"]
    torch.testing.assert_close(found.double(), 1 - near / whole, rtol=1e-3, atol=1e-6)


def test_a_metric_without_its_weights_is_refused_with_the_file_it_needs(weights, tmp_path):
    remedy = r"download.pytorch.org/models/alexnet-owt-7be5be79.pth and name it"
    with pytest.raises(CheckpointError, match=rf"LPIPS: .*absent.pth is no file; none .*{remedy}"):
        LPIPS(str(tmp_path / "absent.pth"))
    with pytest.raises(CheckpointError, match=r"DISTS: .*vgg16.*alex.pth holds another network"):
        DISTS(str(weights["alex"][0]))
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(CheckpointError, match=rf"text.pth is not readable as tensors.*{remedy}"):
        LPIPS(str(tmp_path / "text.pth"))
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=rf"other.pth holds another network. .*{remedy}"):
        LPIPS(str(tmp_path / "other.pth"))
    with pytest.raises(
        ConfigError, match=r"'lpips': it needs a local file of weights, extra={lpips"
    ):
        ImageMetrics(("lpips",))
    with pytest.raises(ShapeError, match=r"sides of 64 pixels or more, got \(1, 1, 48, 48"):
        LPIPS(str(weights["alex"][0]))(torch.zeros(1, 1, 48, 48), torch.zeros(1, 1, 48, 48))
