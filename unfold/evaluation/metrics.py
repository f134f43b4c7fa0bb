"""Metrics of single images, on a given range and border: `metrics`."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, pad

from unfold.errors import ConfigError, ShapeError, listing, nearest
from unfold.parameters.bounds import Declared, Range, bounded, nonnegative
from unfold.pytree import batched_norm, per_image
from unfold.typing import Image, PerImage

MAXIMUM = "max"
"""The range that is the largest magnitude of the true image."""

VOLUME = "the maximum of the true image, or of its volume where the file states it"

RANGES = Range("in (0, 16], or max", lambda v: v == MAXIMUM or 0 < v <= 16)
Measure = Callable[[Image, Image, float], PerImage]


def magnitude(x: Tensor) -> Tensor:
    """What is compared and shown of an image: |x| of a complex one, else x."""
    return x.abs() if x.is_complex() else x


def psnr(reconstruction: Image, truth: Image, data_range: float) -> PerImage:
    """10 log₁₀(R² / mean |x̂ − x|²) in dB, of each image, R its range; infinite for equal images.

    Raises:
        ShapeError: the shapes differ; nothing is broadcast.
    """
    _same_shape("psnr", reconstruction, truth)
    squared = (reconstruction - truth).square().sum((1, 2, 3))
    nats = 2 * torch.tensor(float(data_range)).log() - (squared / truth[0].numel()).log()
    decibels: PerImage = nats * (10 / torch.tensor(10.0).log())
    return decibels


def ssim(reconstruction: Image, truth: Image, data_range: float) -> PerImage:
    """Structural similarity of each image, Gaussian window of σ = 1.5 pixels.

    Raises:
        ShapeError: the shapes differ, or the window does not fit the image.

    Source: Wang et al., Image quality assessment, TIP 13 (2004).
    """
    _expect_sides("ssim", reconstruction, truth, 11)
    from torchmetrics.functional.image import structural_similarity_index_measure

    value = structural_similarity_index_measure(
        reconstruction, truth, data_range=data_range, reduction="none"
    )
    assert isinstance(value, Tensor)
    return value.reshape(-1)


def nmse(reconstruction: Image, truth: Image, data_range: float) -> PerImage:
    """‖x̂ − x‖² / ‖x‖² of each image, its phase included; the range is not used."""
    _same_shape("nmse", reconstruction, truth)
    return (batched_norm(reconstruction - truth) / batched_norm(truth)) ** 2


def vif(reconstruction: Image, truth: Image, data_range: float) -> PerImage:
    """Visual information fidelity of each image in the pixel domain, the mean over channels.

    Of images times 255 / R with visual noise of variance 2, as in the published vifp_mscale.m.

    Raises:
        ShapeError: the shapes differ, or the largest window does not fit the image.

    Source: Sheikh and Bovik, Image information and visual quality, TIP 15 (2006).
    """
    _expect_sides("vif", reconstruction, truth, 41)
    from torchmetrics.functional.image import visual_information_fidelity

    x, y = (255 / data_range * t for t in (reconstruction, truth))
    return visual_information_fidelity(x, y, reduction="none")


YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


def haarpsi(reconstruction: Image, truth: Image, data_range: float) -> PerImage:
    """(logit Σ w l(s) / Σ w)², l(t) = 1 / (1 + e^(−αt)), of each image, in [0, 1].

    s = mean of (2ab + C) / (a² + b² + C), a and b magnitudes of Haar coefficients of scales 1 and 2
    of both images, and w the larger one of scale 3; for both directions, C = 30, α = 4.2. Images
    are multiplied by 255 / R and halved first; colours are Y'IQ, I and Q without a wavelet.

    Raises:
        ShapeError: the shapes differ, there are other than 1 or 3 channels, or sides below 16.

    Source: Reisenhofer, Bosse, Kutyniok and Wiegand, A Haar wavelet-based perceptual similarity
    index for image quality assessment, Signal Processing: Image Communication 61 (2018).
    """
    _expect_sides("haarpsi", reconstruction, truth, 16)
    x, (height, width) = torch.cat([reconstruction, truth]) * (255 / data_range), truth.shape[-2:]
    if (channels := truth.shape[1]) == 3:
        x = torch.einsum("ij,bjhw->bihw", x.new_tensor(YIQ), x)
    elif channels != 1:
        raise ShapeError(f"haarpsi expects 1 or 3 channels, got {channels}; leave it out.")
    x = avg_pool2d(pad(x, (0, width % 2, 0, height % 2)), 2)

    def haar(half: int) -> tuple[Tensor, ...]:
        step = x.new_ones(2 * half, 2 * half) / (2 * half)
        step[:half] *= -1
        around = pad(x[:, :1], (half - 1, half, half - 1, half))
        return conv2d(around, torch.stack([step, step.T])[:, None]).abs().chunk(2)

    similar = (_similarity(*haar(1)) + _similarity(*haar(2))) / 2
    weights = torch.maximum(*haar(4))
    if channels == 3:
        colour = avg_pool2d(pad(x[:, 1:], (0, 1, 0, 1)), 2, 1).abs().chunk(2)
        similar = torch.cat([similar, _similarity(*colour).mean(1, keepdim=True)], 1)
        weights = torch.cat([weights, weights.mean(1, keepdim=True)], 1)
    share = ((4.2 * similar).sigmoid() * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3))
    return (share.logit() / 4.2) ** 2


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    return (2 * a * b + 30) / (a**2 + b**2 + 30)


def _defined(values: PerImage, finite: Tensor, *, higher: bool | None) -> PerImage:
    """NaN where a metric is undefined, the worst where the reconstruction is not `finite`."""
    worst = -torch.inf if higher else torch.inf
    values = torch.where(torch.isfinite(values), values, torch.nan)
    return torch.where(finite.to(values.device), values, worst)


def _expect_sides(name: str, reconstruction: Tensor, truth: Tensor, least: int) -> None:
    _same_shape(name, reconstruction, truth)
    if min(truth.shape[-2:]) < least:
        raise ShapeError(
            f"{name} expects sides of {least} pixels or more, got {tuple(truth.shape)}; leave it "
            "out."
        )


def _same_shape(name: str, reconstruction: Tensor, truth: Tensor) -> None:
    if reconstruction.shape != truth.shape or truth.ndim != 4:
        raise ShapeError(
            f"{name} expects two images (batch, channel, height, width) of one shape, got "
            f"{tuple(reconstruction.shape)} and {tuple(truth.shape)}."
        )


MEASURES: Mapping[str, Measure] = {
    "psnr": psnr,
    "ssim": ssim,
    "nmse": nmse,
    "complex_nmse": nmse,
    "vif": vif,
    "haarpsi": haarpsi,
}
HIGHER_IS_BETTER: Mapping[str, bool] = {
    **{name: "nmse" not in name for name in MEASURES},
    **dict.fromkeys(("loss", "set_nmse_db", "consistency", "held_out_error", "risk"), False),
}

OWN = ("unfold.evaluation.perceptual",)
"""The modules of our own metrics with learned weights."""

LEARNED = "extra={{{0}: {{_target_: " + OWN[0] + ".{1}, weights: FILE}}}}"
"""How a metric with learned weights is asked for, lpips or dists."""

WITH_PHASE = "complex_nmse"
"""The metric that is not of magnitudes."""


def higher_is_better(name: str, further: Any = None) -> bool | None:
    """Whether the largest value of a metric is the best; None where that is not known.

    Args:
        name: of the metric.
        further: where it is one of `ImageMetrics.extra`, it, or its `_target_`: only classes of
            torchmetrics and of this folder are imported.
    """
    if further is None:
        return HIGHER_IS_BETTER.get(name)
    if isinstance(further, str):
        module, _, kind = further.rpartition(".")
        if module.partition(".")[0] != "torchmetrics" and module not in OWN:
            return None
        with suppress(ImportError):
            further = getattr(import_module(module), kind, None)
    found: bool | None = getattr(further, "higher_is_better", None)
    return found


def objective_mode(objective: str, names: Sequence[str], further: Any = None) -> str:
    """`max` or `min`, as the metric asks.

    Args:
        objective: `validation/NAME`.
        names: the metrics that are measured.
        further: those of `ImageMetrics.extra` by name, or as in `higher_is_better`.

    Raises:
        ConfigError: no such metric is measured in validation, or it has no direction.
    """
    allowed = [f"validation/{name}" for name in (*names, "loss")]
    if objective not in allowed:
        raise ConfigError(
            f"objective = {objective}: is not measured{nearest(objective, allowed)} "
            f"Allowed: {listing(allowed)}."
        )
    name = objective.removeprefix("validation/")
    own = further.get(name) if isinstance(further, Mapping) else further
    if (higher := higher_is_better(name, own)) is None:
        raise ConfigError(
            f"objective = {objective}: its metric does not state `higher_is_better`. Name another: "
            f"{listing(allowed)}."
        )
    return "max" if higher else "min"


@dataclass(frozen=True)
class ImageMetrics(Declared):
    """Metrics per image; the value of a set is the mean over its images where it is defined.

    Complex images are compared by their magnitude, except by `complex_nmse`. Undefined is a value
    that is not finite of a reconstruction that is: the NMSE of a black image, the PSNR of an exact
    one. It is NaN. That of a reconstruction that is not finite is the worst, ∓∞.

    Args:
        names: psnr, ssim, nmse, complex_nmse, vif, haarpsi.
        data_range: R, of the intensities; or `max`, for each image its own: the maximum that its
            file states for the whole volume, as fastMRI's do, else that of the true image.
        border: pixels left out on every side.
        extra: further metrics by name, each a torchmetrics metric, applied to one image at a time;
            of images divided by their maximum where that is the range.
        over_set: metrics of all validation images together: set_nmse_db, the NMSE in dB as a ratio
            of sums over the set.
    """

    names: tuple[str, ...] = ("psnr", "ssim", "nmse")
    data_range: float | Literal["max"] = bounded(1.0, RANGES, "of images in [0, 1], not of 255")
    border: int = bounded(0, nonnegative, "in pixels")
    extra: Mapping[str, nn.Module] = field(default_factory=dict)
    over_set: tuple[Literal["set_nmse_db"], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.names:
            if name not in MEASURES:
                near = nearest(name, MEASURES)
                if name in ("lpips", "dists"):
                    wanted = LEARNED.format(name, name.upper())
                    near = f": it needs a local file of weights, {wanted}."
                raise ConfigError(
                    f"names = {list(self.names)}: unknown metric '{name}'"
                    f"{near} Available: {listing(MEASURES)}."
                )

    @property
    def note(self) -> str:
        """What a table states of the range."""
        stated = f"{self.data_range:g}" if isinstance(self.data_range, float | int) else VOLUME
        return f"range of psnr and ssim: {stated}."

    @property
    def all_names(self) -> tuple[str, ...]:
        """The names of everything measured."""
        return (*self.names, *self.extra, *self.over_set)

    @torch.no_grad()
    def __call__(
        self, reconstruction: Tensor, truth: Tensor, maximum: PerImage | None = None
    ) -> dict[str, PerImage]:
        """Every metric, (B,) each.

        Args:
            reconstruction: x̂, (B, C, H, W).
            truth: x.
            maximum: of the volume of each image; NaN where it is not known.

        Raises:
            ShapeError: the shapes differ; nothing is broadcast.
        """
        _same_shape("ImageMetrics", reconstruction, truth)
        whole = self._cut(reconstruction), self._cut(truth)
        a, b = map(magnitude, whole)
        scaled, size = (a, b), self.data_range
        if isinstance(size, str):
            own = b.flatten(1).amax(1)
            own = own if maximum is None else torch.where(maximum.isnan(), own, maximum.to(own))
            scaled, size = (a / per_image(own, a), b / per_image(own, b)), 1.0
        found = {
            name: MEASURES[name](*(whole if name == WITH_PHASE else scaled), size)
            for name in self.names
        }
        found |= {name: self._one_by_one(m, *scaled) for name, m in self.extra.items()}
        finite = torch.isfinite(reconstruction).flatten(1).all(1)
        return {
            name: _defined(values, finite, higher=higher_is_better(name, self.extra.get(name)))
            for name, values in found.items()
        }

    def psnr(self, x: Tensor, truth: Tensor, maximum: PerImage | None = None) -> PerImage:
        """The PSNR, (B,), whatever is measured besides: on the same range and border."""
        return replace(self, names=("psnr",), extra={})(x, truth, maximum)["psnr"]

    def _cut(self, x: Tensor) -> Tensor:
        n, (height, width) = self.border, x.shape[-2:]
        return x[..., n : height - n, n : width - n]

    def _one_by_one(self, metric: Any, a: Image, b: Image) -> PerImage:
        values, metric = [], metric.to(a.device)
        for i in range(len(a)):
            values.append(torch.as_tensor(metric(a[i : i + 1], b[i : i + 1])).reshape(()))
            metric.reset()
        return torch.stack(values)
