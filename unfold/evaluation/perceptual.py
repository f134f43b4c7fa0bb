"""Perceptual distances with learned weights, from a local file: nothing is downloaded."""

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import ClassVar

import torch
import torchmetrics
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, normalize
from torchmetrics import Metric

from unfold.arrays import loadable
from unfold.disk import read_bytes
from unfold.errors import CheckpointError, ShapeError
from unfold.typing import Image, PerImage

FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
WIDTHS = {
    "alex": [64, 192, 384, 256, 256],
    "vgg": [64, 64, 128, 128, *[256] * 3, *[512] * 6],
}
"""The networks of torchvision, trained on ImageNet: their files, and channels by convolution."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours of ImageNet, which the networks see with mean 0 and variance 1."""


class Perceptual(Metric, ABC):
    """A distance of features of a trained network, the mean over images; gray ones are repeated.

    Of images in [0, 1], which are not clipped.

    Args:
        weights: torchvision's file of AlexNet or VGG-16; see `FILES`.

    Raises:
        CheckpointError: there is no such file, or it holds another network.
    """

    full_state_update = False
    higher_is_better = False
    nets: ClassVar[tuple[str, ...]]
    head: ClassVar[str]
    total: Tensor
    count: Tensor

    def __init__(self, weights: str) -> None:
        super().__init__()
        found = self._read(Path(weights).expanduser())
        self.numbers = [int(key.split(".")[1]) for key in found if key.endswith("weight")]
        kept = [w for w in WIDTHS if WIDTHS[w] == [len(t) for t in found.values() if t.ndim > 1]]
        folder = Path(torchmetrics.__file__).parent / "functional" / "image"
        heads = torch.load(folder / self.head.format(*kept), "cpu", weights_only=True)
        self.convolutions, self.heads = (
            nn.ParameterList(one.values()).requires_grad_(False) for one in (found, heads)
        )
        for name in ("total", "count"):
            self.add_state(name, default=torch.zeros(()), dist_reduce_fx="sum")

    def _read(self, file: Path) -> dict[str, Tensor]:
        """The weights and biases of the convolutions, in order."""
        wanted = [FILES[net] for net in self.nets]
        what = f"{type(self).__name__}: torchvision's {' or '.join(wanted)} is expected, and {file}"
        remedy = f"Download https://download.pytorch.org/models/{wanted[0]} and name it."
        if not file.is_file():
            raise CheckpointError(f"{what} is no file; none is downloaded. {remedy}")
        try:
            content = io.BytesIO(read_bytes(file.resolve(), loadable()))
            state = dict(torch.load(content, "cpu", weights_only=True))
        except (OSError, EOFError, RuntimeError, ValueError, TypeError, UnpicklingError) as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise CheckpointError(
                f"{what} is not readable as tensors ({reason}). {remedy}"
            ) from error
        found = {k: t for k, t in state.items() if str(k).startswith("features.")}
        widths = [len(t) for t in found.values() if t.ndim == 4]
        if widths not in [WIDTHS[net] for net in self.nets] or len(found) != 2 * len(widths):
            raise CheckpointError(f"{what} holds another network. {remedy}")
        return found

    def update(self, x: Image, truth: Image) -> None:
        """Add the images of a batch; a `ShapeError` of sides below 64, or of 2 channels."""
        if truth.shape[1] not in (1, 3) or min(truth.shape[-2:]) < 64:
            raise ShapeError(
                f"{type(self).__name__} expects 1 or 3 channels and sides of 64 pixels or more, "
                f"got {tuple(truth.shape)}; leave it out."
            )
        pair = (t.expand(-1, 3, -1, -1).float() for t in (x, truth))
        self.total = self.total + self.distance(*pair).sum()
        self.count = self.count + len(x)

    def compute(self) -> Tensor:
        """The mean over the images."""
        return self.total / self.count

    def features(self, x: Tensor) -> Iterator[Tensor]:
        """The outputs of all layers of AlexNet, and of VGG-16 those before a pooling."""
        mean, deviation = (x.new_tensor(t).reshape(3, 1, 1) for t in (MEAN, DEVIATION))
        x = (x - mean) / deviation
        layers, all_ = list(self.convolutions), len(self.numbers) == 5
        for k, (number, then) in enumerate(pairwise([*self.numbers, 99])):
            w, b = layers[2 * k : 2 * k + 2]
            large = w.shape[-1] == 11
            x = conv2d(x, w, b, 4 if large else 1, 2 if large else w.shape[-1] // 2).relu()
            if all_ or then - number > 2:
                yield x
            if then - number == 3:  # the number of the pooling is left out
                x = self.pooled(x)

    def pooled(self, x: Tensor) -> Tensor:
        """x at half the size: the maxima, as the network was trained."""
        return max_pool2d(x, 3 if len(self.numbers) == 5 else 2, 2)

    @abstractmethod
    def distance(self, x: Image, truth: Image) -> PerImage:
        """Of each image of three channels."""


class LPIPS(Perceptual):
    """Σ_k mean over pixels of w_k · (f̂_k(x̂) − f̂_k(x))², f̂_k features of norm 1 in each pixel.

    Learned perceptual image patch similarity, version 0.1, of AlexNet or VGG-16, whichever the file
    holds; papers name it. The w come with torchmetrics.

    Source: Zhang, Isola, Efros, Shechtman and Wang, The unreasonable effectiveness of deep features
    as a perceptual metric, CVPR 2018, equation 1.
    """

    nets, head = ("alex", "vgg"), "lpips_models/{}.pth"

    def distance(self, x: Image, truth: Image) -> PerImage:
        pairs = zip(self.features(x), self.features(truth), strict=True)
        layers = (
            conv2d((normalize(a, eps=1e-10) - normalize(b, eps=1e-10)) ** 2, w).mean((1, 2, 3))
            for (a, b), w in zip(pairs, self.heads, strict=True)
        )
        return torch.stack(list(layers)).sum(0)


class DISTS(Perceptual):
    """1 − Σ_k α_k · l_k − Σ_k β_k · s_k over the image and features of VGG-16, its pooling of L².

    l = (2 μ_x̂ μ_x + c) / (μ_x̂² + μ_x² + c) and s = (2 σ_x̂x + c) / (σ_x̂² + σ_x² + c), c = 1e-6, of
    each channel. Images are not resized, as of torchmetrics, with which α and β come; the authors'
    script makes the shorter side of large ones 256.

    Source: Ding, Ma, Wang and Simoncelli, Image quality assessment: unifying structure and texture
    similarity, IEEE Trans. PAMI 44 (2022), equations 5 to 7.
    """

    nets, head = ("vgg",), "dists_models/weights.pt"

    def pooled(self, x: Tensor) -> Tensor:
        """√(h * x²) at half the size, h a Hann window of 3 x 3."""
        row = x.new_tensor([0.25, 0.5, 0.25])
        kernel = torch.outer(row, row).expand(x.shape[1], 1, 3, 3)
        return (conv2d(x**2, kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()

    def distance(self, x: Image, truth: Image) -> PerImage:
        pairs = zip(*((t, *self.features(t)) for t in (x, truth)), strict=True)
        structure, texture = list[Tensor](), list[Tensor]()
        for a, b in pairs:
            m, n = a.mean((2, 3)), b.mean((2, 3))
            structure.append((2 * m * n + 1e-6) / (m**2 + n**2 + 1e-6))
            both = (a * b).mean((2, 3)) - m * n
            spread = sum(t.var((2, 3), correction=0) for t in (a, b))
            texture.append((2 * both + 1e-6) / (spread + 1e-6))
        alpha, beta = (t.flatten() for t in self.heads)
        near = torch.cat(structure, 1) @ alpha + torch.cat(texture, 1) @ beta
        distance: PerImage = 1 - near / (alpha.sum() + beta.sum())
        return distance
