"""The baselines that learned methods are compared with, tuned on validation images, cached."""

import hashlib
import io
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unfold.algorithms.algorithm import Algorithm
from unfold.algorithms.analysis_pdhg import AnalysisPDHG
from unfold.algorithms.condat_vu import CondatVu
from unfold.data.example import Example
from unfold.disk import damage, with_checksum, write_bytes
from unfold.errors import ConfigError, ShapeError
from unfold.evaluation.base import Case, ImageBatch, batches, measure
from unfold.evaluation.metrics import magnitude, psnr
from unfold.fidelities.l2 import L2
from unfold.initialization import Regularised
from unfold.models.classical import Classical
from unfold.models.model import Solution, Steps
from unfold.parameters.bounds import Declared, bounded, positive, whole
from unfold.physics.base import Physics
from unfold.physics.operator import Operator
from unfold.priors.tv import TV
from unfold.problem import Problem, make_problem
from unfold.pytree import batched_norm, per_image
from unfold.random import Draws
from unfold.solvers.conjugate_gradient import default_tol

SOLVES = 1e-4
"""The tolerance of the linear solves inside total variation, relative to that of the gap."""


def total_variation(
    y: Tensor,
    operator: Operator,
    weights: Tensor,
    model: Classical,
    precision: torch.dtype = torch.float64,
    *,
    measured: bool = False,
) -> Solution:
    """argmin ½‖Ax − y‖² + λ TV(x) over the images in [0, 1], to the duality gap of the model.

    Complex and measured images have no such bound: it is twice what a linear method finds.
    `weights` is λ of each image, (B,), or one for all, (1,). For ill-conditioned A, rounding in
    float32 leaves a gap of 3e-4. Where A is not linear there is no gap: it is the limit of Condat
    and Vũ's iteration, to the residual.
    """
    wide = y.to(precision.to_complex() if y.is_complex() else precision)
    # Errors of the solves enter the measured gap: they must be far below it.
    tol = max(default_tol(precision), SOLVES * model.tol)
    problem = make_problem(L2(), operator.to_like(wide), wide, TV(), Regularised(), tol)
    lam = weights.to(y.device, precision).reshape(-1, 1, 1, 1)
    box = (0.0, 1.0)
    if measured or operator.complex_images:
        reach = 2 * float(operator.linear_baseline(y).image.abs().max())
        box = (-reach, reach)
    solution = model.run(Steps((_solver(problem, lam, box), problem)))
    kind = y.dtype.to_complex() if operator.complex_images else y.dtype.to_real()
    return solution._replace(image=solution.image.to(kind))


def tikhonov(
    y: Tensor,
    operator: Operator,
    weights: Tensor,
    model: Classical,
    precision: torch.dtype = torch.float64,
    *,
    measured: bool = False,
) -> Solution:
    """argmin ½‖Ax − y‖² + ½λ‖x‖² = (I + A*A/λ)⁻¹ A*y/λ, the arguments as of `total_variation`.

    For a blur it is Wiener's filter of white images, for several coils CG-SENSE. Where A is not
    linear it is that of its tangent.
    """
    lam = weights.to(y.device, y.dtype.to_real()).reshape(-1, 1, 1, 1)
    tangent, b = operator.tangent(y), operator.back_project(y) / lam
    image = tangent.solve_normal(b, 1 / lam, tol=1e-4)
    residual, size = batched_norm(b - image - tangent.normal(image) / lam), batched_norm(b)
    # Rounding is far below the tolerance: a solve that ended there is within twice of it.
    return Solution(image, (), residual, torch.zeros_like(size), residual <= 2e-4 * size)


Method = Callable[..., Solution]
TUNED: Mapping[str, Method] = {"wiener": tikhonov, "cg_sense": tikhonov, "tv": total_variation}
"""The baselines with a weight, which is tuned: that of `tikhonov` has the names of the fields."""


def _solver(problem: Problem, lam: Tensor, box: tuple[float, float]) -> Algorithm[Any]:
    """The solver for these weights, with step sizes for this operator."""
    low, high = box
    if problem.f.operator.linear:
        return AnalysisPDHG(ratio=0.01, lambda_reg=lam, low=low, high=high)
    squared = per_image(problem.norm_squared.to(lam), problem.At_y)
    return CondatVu(0.95 / squared, 0.06 * squared, lam, low=low, high=high)


VERSION = 8
"""Part of every cache key: raise it where the baseline itself changes."""

EXTENSIONS = 6
"""How often a grid of weights grows, by half of itself, while the best weight is at an edge."""

FLAT = 0.1
"""An edge that is within so many dB of the best weight is no lower: the optimum may lie beyond."""


@dataclass(frozen=True)
class TunedTV(Declared):
    """Classical total variation, its weight tuned per operator and noise on validation images.

    Args:
        low: the smallest weight tried at first.
        high: the largest; a grid with its best weight at an edge is extended there.
        count: how many are tried at first, log-spaced.
        images: at most so many validation images score a weight, spread over their order.
        crop: side of their centre that is used, in pixels.
        tol: relative duality gap at which a test image has converged.
        max_iterations: of a test image.
        search_tol: relative duality gap at which a weight is scored.
        search_iterations: at most, of a weight that is scored.
    """

    low: float = bounded(1e-3, positive)
    high: float = bounded(1e-1, positive)
    count: int = bounded(12, whole(2), "in weights")
    images: int = bounded(4, whole(1), "in images")
    crop: int = bounded(128, whole(1), "in pixels")
    tol: float = 1e-4
    max_iterations: int = 3000
    search_tol: float = 1e-3
    search_iterations: int = 400

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low < self.high:
            raise ConfigError(f"low = {self.low}: must be below high = {self.high}.")

    @property
    def weights(self) -> list[float]:
        """The weights tried, in increasing order."""
        return [float(w) for w in np.geomspace(self.low, self.high, self.count)]


class Weighted(NamedTuple):
    """A tuned baseline of an operator and a noise.

    weight: λ, the best on the validation images.
    tried: (λ, mean PSNR) of all that were tried.
    tuned: whether the best weight is inside the grid; no gain has a meaning over one at an edge.
    images: the reconstructions of the test images, in their order.
    converged: whether each of them reached the duality gap.
    """

    weight: float
    tried: tuple[tuple[float, float], ...]
    tuned: bool
    images: tuple[Tensor, ...]
    converged: tuple[bool, ...]


@dataclass(frozen=True)
class Baselines:
    """Tuned baselines, computed once for each operator, noise and data set.

    Args:
        settings: how the weight is tuned.
        validation: named examples to tune on.
        test: named examples to reconstruct.
        fingerprint: of the data.
        seed: of the draws.
        cache: the folder of what was computed before.
        multiple: the sides of the images to tune on are multiples of it, in pixels.
        anchor: is where they are computed.
    """

    settings: TunedTV
    validation: Sequence[tuple[str, Example]]
    test: Sequence[tuple[str, Example]]
    fingerprint: str
    seed: int
    cache: Path
    multiple: int = 1
    anchor: Tensor = torch.empty(())

    def tuned(self, method: str, physics: Physics) -> Weighted:
        """Read one of `TUNED` from the cache, or tune it and reconstruct."""
        identity = (VERSION, self.settings, self.fingerprint, self.seed, content(physics))
        name = "tv" if method == "tv" else TUNED[method].__name__
        kept = repr(identity) + name.removeprefix("tv")
        key = hashlib.blake2b(kept.encode(), digest_size=12).hexdigest()
        path = self.cache / f"{name}-{key}.pt"
        if (cached := _cached(path, key)) is not None:
            return cached
        found, archive = self._compute(physics, TUNED[method]), io.BytesIO()
        torch.save(found._asdict() | {"key": key}, archive)
        write_bytes(path, with_checksum(archive.getvalue()))
        return found

    @torch.no_grad()
    def _compute(self, physics: Physics, method: Method) -> Weighted:
        tried = self._tune(physics, method)
        best = max(tried, key=lambda weight: tried[weight])
        tuned = not _open(tried)
        final = Classical(self.settings.tol, self.settings.max_iterations)
        images: list[Tensor] = []
        converged: list[bool] = []
        for batch in self._batches(self.test, physics):
            y, operator, _ = measure(physics, batch, self.seed, "test")
            own = batch.examples.measurement is not None
            solution = method(y, operator, torch.tensor([best]), final, measured=own)
            images += list(solution.image.cpu())
            assert solution.converged is not None
            converged += solution.converged.cpu().tolist()
        pairs = tuple(sorted(tried.items()))
        return Weighted(best, pairs, tuned, tuple(images), tuple(converged))

    def _batches(
        self, examples: Sequence[tuple[str, Example]], physics: Physics
    ) -> Iterator[ImageBatch]:
        # There is no double precision on "mps".
        anchor = self.anchor.cpu() if self.anchor.device.type == "mps" else self.anchor
        for one in batches(examples, device=anchor.device.type):
            yield one._replace(examples=one.examples.like(anchor, physics.on_host))

    def _tune(self, physics: Physics, method: Method = TUNED["tv"]) -> dict[float, float]:
        """The mean PSNR of the weights tried, until the best one is inside the grid."""
        chosen, first = self._tuning_images(physics), self.settings.weights
        every = self._batches(chosen, physics)
        cases = [(measure(physics, b, self.seed, "validation"), b) for b in every]
        if not cases:  # without true images nothing is tuned: the middle of the grid, and a mark
            return {first[len(first) // 2]: math.nan}
        ratio, found, new = first[1] / first[0], dict[float, Tensor](), first
        for _ in range(1 + EXTENSIONS):
            parts = [self._try_all(method, c, b, new) for c, b in cases]
            found |= dict(zip(new, torch.cat(parts).unbind(1), strict=True))
            tried, usable = _means(found)
            steps = range(1, len(first) // 2 + 1)
            new = [edge * ratio ** (k * way) for edge, way in _open(tried) for k in steps]
            if not new or not usable:
                break
        return tried

    def _tuning_images(self, physics: Physics) -> list[tuple[str, Example]]:
        """The centres of the validation images that the weight is tuned on.

        Full ones where the forward model takes no others, as a matrix does, and of measurements.
        """
        side = self.settings.crop - self.settings.crop % self.multiple
        step = -(-len(self.validation) // self.settings.images)
        chosen = [self.validation[i] for i in range(0, len(self.validation), max(1, step))]
        chosen = [(name, one) for name, one in chosen if one.image is not None]
        if any(one.measurement is not None for _, one in chosen):
            return chosen
        centres = []
        for name, one in chosen:
            top, left = (max(0, (length - side) // 2) for length in one.kind[0][-2:])
            part = one.known["image"][..., top : top + side, left : left + side]
            centres.append((name, Example(part)))
        try:
            for _, one in centres:
                physics.sample(Draws(self.seed, (0,)), one.kind[0][1:])
        except ShapeError:
            return chosen
        return centres

    def _try_all(
        self, method: Method, case: Case, batch: ImageBatch, tried: Sequence[float]
    ) -> Tensor:
        """The PSNR of every image and weight, (B, weights): all are solved as one batch.

        That of an image without structure, whose best weight is the largest, is NaN.
        """
        y, operator, truth = case.y, case.operator, batch.images
        assert truth is not None  # see `_tuning_images`
        count, weights = len(tried), torch.tensor(tried).repeat(len(y))
        several = torch.arange(len(y)).repeat_interleave(count).to(y.device)
        wide = operator.take(several, len(y)) if len(y) > 1 else operator
        search = Classical(self.settings.search_tol, self.settings.search_iterations)
        # Half the time and the same scores to 1e-3 dB: the gap is far above the rounding.
        own = batch.examples.measurement is not None
        solution = method(y[several], wide, weights, search, torch.float32, measured=own)
        truth = truth.repeat_interleave(count, 0)
        score = psnr(magnitude(solution.image), magnitude(truth), 1.0).double()
        flat = magnitude(truth).amax((2, 3)) == magnitude(truth).amin((2, 3))
        return torch.where(flat.all(1), torch.nan, score).reshape(-1, count).cpu()


def _cached(path: Path, key: str) -> Weighted | None:
    """What is stored under a key; None, after a warning, where it is damaged or of another key."""
    if not path.is_file():
        return None
    archive = path.read_bytes()
    reason = damage(archive)
    if reason is None:
        stored = torch.load(io.BytesIO(archive), weights_only=True)
        if stored.pop("key", None) == key:
            return Weighted(**stored)
        reason = "it belongs to another baseline"
    warnings.warn(f"{path} is not used ({reason}); its baseline is computed again.", stacklevel=2)
    return None


def _means(found: Mapping[float, Tensor]) -> tuple[dict[float, float], int]:
    """The mean PSNR of each weight, over the images that score all weights; and their number."""
    every = torch.stack(list(found.values()), 1)
    usable = every[every.isfinite().all(1)]
    means = usable.sum(0) / max(1, len(usable))
    return dict(zip(found, means.tolist(), strict=True)), len(usable)


def _open(tried: Mapping[float, float]) -> list[tuple[float, int]]:
    """The edges beyond which the best weight may lie, with the sign of a step outwards."""
    edges, best = ((min(tried), -1), (max(tried), 1)), max(tried.values())
    return [(edge, way) for edge, way in edges if not tried[edge] < best - FLAT]


def content(value: Any) -> Any:
    """The fields of a forward model, with digests of its tensors and of the files it names."""
    if is_dataclass(value) and not isinstance(value, type):
        items = {field.name: content(getattr(value, field.name)) for field in fields(value)}
        return type(value).__qualname__, items
    if isinstance(value, Mapping):
        return {key: content(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [content(item) for item in value]
    if isinstance(value, Tensor):
        array = value.detach().cpu().contiguous().numpy()
        return array.shape, hashlib.blake2b(array.tobytes(), digest_size=12).hexdigest()
    if isinstance(value, str) and Path(value).expanduser().is_file():
        data = Path(value).expanduser().read_bytes()
        return value, hashlib.blake2b(data, digest_size=12).hexdigest()
    return repr(value)
