"""Perceptual distances with learned weights, from a local file: nothing is downloaded."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torchmetrics
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, normalize
from torchmetrics import Metric

from unfold.errors import CheckpointError, ShapeError
from unfold.typing import Image, PerImage

FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
"""The weights of torchvision for ImageNet, of https://download.pytorch.org/models/."""

POOL = ()
LAYERS: dict[str, tuple[tuple[int, ...], ...]] = {
    "alex": ((64, 11, 4, 2), POOL, (192, 5, 1, 2), POOL, *((n, 3, 1, 1) for n in (384, 256, 256))),
    "vgg": tuple(
        layer
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
        for layer in (*((width, 3, 1, 1),) * count, POOL)
    )[:-1],
}
"""Width, kernel, stride and padding of each convolution; a pooling before each halving."""

WINDOW = {"alex": 3, "vgg": 2}
"""Of a pooling, in pixels."""

TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
"""The layers whose outputs are compared, in the numbers of torchvision."""


def network(net: str) -> nn.Sequential:
    """The convolutions of AlexNet or VGG-16, with the names that torchvision gives them."""
    layers, channels = list[nn.Module](), 3
    for layer in LAYERS[net]:
        if layer == POOL:
            layers.append(nn.MaxPool2d(WINDOW[net], 2))
            continue
        width, kernel, stride, padding = layer
        layers += [nn.Conv2d(channels, width, kernel, stride, padding), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers)


class Perceptual(Metric, ABC):
    """A distance of features of a trained network, the mean over images; gray ones are repeated.

    Of images in [0, 1], which are not clipped.

    Args:
        weights: the file of torchvision's network; see `FILES`.
        net: alex or vgg.

    Raises:
        CheckpointError: there is no such file, or it holds another network.
    """

    full_state_update = False
    higher_is_better = False
    head: ClassVar[str]
    total: Tensor
    count: Tensor

    def __init__(self, weights: str, net: Literal["alex", "vgg"]) -> None:
        super().__init__()
        self.taps, self.window = TAPS[net], WINDOW[net]
        self.network = network(net).eval().requires_grad_(False)
        self._load(Path(weights).expanduser(), net)
        folder = Path(torchmetrics.__file__).parent / "functional" / "image"
        heads = torch.load(folder / self.head.format(net), "cpu", weights_only=True)
        self.heads = nn.ParameterDict({k.replace(".", "_"): t for k, t in heads.items()})
        self.heads.requires_grad_(False)
        for name in ("total", "count"):
            self.add_state(name, default=torch.zeros(()), dist_reduce_fx="sum")

    def _load(self, file: Path, net: str) -> None:
        from unfold.training.checkpoints.foreign import read_foreign

        what = f"{type(self).__name__}: the weights of torchvision's {FILES[net]} are expected"
        remedy = f"Download https://download.pytorch.org/models/{FILES[net]} and name it."
        if not file.is_file():
            raise CheckpointError(f"{what}, and {file} is no file; none is downloaded. {remedy}")
        prefix, own = "features.", self.network.state_dict()
        found = {k.removeprefix(prefix): t for k, t in read_foreign(file).items() if prefix in k}
        shapes = ({k: t.shape for k, t in one.items()} for one in (found, own))
        if next(shapes) != next(shapes):
            raise CheckpointError(f"{what}, and {file} holds others. {remedy}")
        self.network.load_state_dict(found)

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
        """The outputs of the layers that are compared."""
        for i, layer in enumerate(self.network):
            x = self.pooled(x) if isinstance(layer, nn.MaxPool2d) else layer(x)
            if i in self.taps:
                yield x

    def pooled(self, x: Tensor) -> Tensor:
        """x at half the size: the maxima, as the network was trained."""
        return max_pool2d(x, self.window, 2)

    @abstractmethod
    def distance(self, x: Image, truth: Image) -> PerImage:
        """Of each image of three channels."""


class LPIPS(Perceptual):
    """Σ_k mean over pixels of w_k · (f̂_k(x̂) − f̂_k(x))², f̂_k features of norm 1 in each pixel.

    Learned perceptual image patch similarity, version 0.1, `net-lin`; papers name the net. The w
    come with torchmetrics.

    Source: Zhang, Isola, Efros, Shechtman and Wang, The unreasonable effectiveness of deep features
    as a perceptual metric, CVPR 2018, equation 1.
    """

    head = "lpips_models/{}.pth"
    SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)

    def __init__(self, weights: str, net: Literal["alex", "vgg"] = "alex") -> None:
        super().__init__(weights, net)

    def distance(self, x: Image, truth: Image) -> PerImage:
        shift, scale = (x.new_tensor(t).reshape(3, 1, 1) for t in (self.SHIFT, self.SCALE))
        pairs = zip(*(self.features((2 * t - 1 - shift) / scale) for t in (x, truth)), strict=True)
        heads = (self.heads[f"lin{k}_model_1_weight"] for k in range(5))
        layers = (
            conv2d((normalize(a, eps=1e-10) - normalize(b, eps=1e-10)) ** 2, w).mean((1, 2, 3))
            for (a, b), w in zip(pairs, heads, strict=True)
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

    head = "dists_models/weights.pt"
    SHIFT, SCALE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, weights: str) -> None:
        super().__init__(weights, "vgg")

    def pooled(self, x: Tensor) -> Tensor:
        """√(h * x²) at half the size, h a Hann window of 3 x 3."""
        row = x.new_tensor([0.25, 0.5, 0.25])
        kernel = torch.outer(row, row).expand(x.shape[1], 1, 3, 3)
        return (conv2d(x**2, kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()

    def distance(self, x: Image, truth: Image) -> PerImage:
        shift, scale = (x.new_tensor(t).reshape(3, 1, 1) for t in (self.SHIFT, self.SCALE))
        pairs = zip(*((t, *self.features((t - shift) / scale)) for t in (x, truth)), strict=True)
        structure, texture = list[Tensor](), list[Tensor]()
        for a, b in pairs:
            m, n = a.mean((2, 3)), b.mean((2, 3))
            structure.append((2 * m * n + 1e-6) / (m**2 + n**2 + 1e-6))
            both = (a * b).mean((2, 3)) - m * n
            spread = sum(t.var((2, 3), correction=0) for t in (a, b))
            texture.append((2 * both + 1e-6) / (spread + 1e-6))
        alpha, beta = (self.heads[k].flatten() for k in ("alpha", "beta"))
        near = torch.cat(structure, 1) @ alpha + torch.cat(texture, 1) @ beta
        distance: PerImage = 1 - near / (alpha.sum() + beta.sum())
        return distance
