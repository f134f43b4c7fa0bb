"""Robustness: the measurement that is simulated and the one a reconstruction assumes differ."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from math import isnan, nan
from operator import is_
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from unfold.disk import write_text
from unfold.errors import ConfigError, listing
from unfold.evaluation.base import Context, Evaluation, check_finite, convergence_flags, measure
from unfold.evaluation.records import (
    Matrix,
    MismatchRow,
    mean,
    to_csv,
    to_markdown,
    undefined,
    write_rows,
)
from unfold.physics.base import Physics
from unfold.physics.batch import Grouped
from unfold.physics.levels import Level
from unfold.physics.noise.base import Noise, with_sigma
from unfold.physics.operator import Operator
from unfold.pytree import map_tensors
from unfold.random import Draws
from unfold.reconstructor import Reconstructor


def sigma_of(noise: Noise) -> Level | None:
    """The standard deviation that a noise is declared with; None where it has none."""
    level: Level | None = vars(noise).get("sigma")
    return level


@dataclass(frozen=True)
class Mismatch(ABC):
    """One error of the forward model, at several strengths.

    Args:
        strengths: 0 is no mismatch, and is always measured; each at most `largest`.
    """

    largest: ClassVar[float] = float("inf")

    strengths: tuple[float, ...]

    def __post_init__(self) -> None:
        for strength in self.strengths:
            if not 0 < strength <= self.largest:
                raise ConfigError(
                    f"{type(self).__name__}.strengths = {list(self.strengths)}: each must be in "
                    f"(0, {self.largest:g}]; 0 is measured in any case."
                )
        if not self.strengths:
            raise ConfigError(f"{type(self).__name__}.strengths = []: name at least one.")

    def actual(self, physics: Physics, strength: float) -> Physics | None:
        """The forward model that measures; None where the mismatch does not apply."""
        return physics

    def assumed(self, operator: Operator, strength: float, draws: Draws) -> Operator | None:
        """The operator used to reconstruct; None where the mismatch does not apply."""
        return operator


@dataclass(frozen=True)
class NoiseLevel(Mismatch):
    """The noise is 1 + s times as strong as in training."""

    def actual(self, physics: Physics, strength: float) -> Physics | None:
        level = sigma_of(physics.noise)
        if level is None:
            return None
        low, high = (level, level) if isinstance(level, float | int) else level
        worse = ((1 + strength) * low, (1 + strength) * high)
        noise = with_sigma(physics.noise, worse if low < high else worse[0])
        return physics.with_noise(noise)


@dataclass(frozen=True)
class FieldMismatch(Mismatch):
    """The reconstruction assumes a perturbed tensor of the operator."""

    field: ClassVar[str]
    """The field of the operator, or of an operator inside it."""

    @abstractmethod
    def perturbed(self, t: Tensor, strength: float, draws: Draws) -> Tensor:
        """The tensor that is assumed."""

    def assumed(self, operator: Operator, strength: float, draws: Draws) -> Operator | None:
        changed: Any = changed_field(
            operator, self.field, lambda t, own: self.perturbed(t, strength, own), draws
        )
        return None if changed is operator else changed


@dataclass(frozen=True)
class KernelWidth(FieldMismatch):
    """The kernel is assumed 1 + s times as wide, within its support, with the same sum."""

    field = "kernel"

    def perturbed(self, t: Tensor, strength: float, draws: Draws) -> Tensor:
        scale = 1 / (1 + strength)
        turn = t.new_tensor([[scale, 0, 0], [0, scale, 0]]).expand(len(t), 2, 3)
        grid = affine_grid(turn, list(t.shape), align_corners=True)
        wide = grid_sample(t, grid, align_corners=True)
        return wide * (t.sum((-2, -1), keepdim=True) / wide.sum((-2, -1), keepdim=True))


@dataclass(frozen=True)
class MaskErrors(FieldMismatch):
    """Every entry of the mask is flipped with probability s."""

    field = "mask"
    largest = 1.0

    def perturbed(self, t: Tensor, strength: float, draws: Draws) -> Tensor:
        shape = (1, *t.shape[2:])
        chance = draws.like(t).within("mask").uniform("entries", shape)
        return torch.where(chance < strength, 1 - t, t)


@dataclass(frozen=True)
class CoilErrors(FieldMismatch):
    """S (1 + s e): e a smooth complex Gaussian field of variance 1, one for each coil."""

    field = "maps"

    def perturbed(self, t: Tensor, strength: float, draws: Draws) -> Tensor:
        own = draws.like(t.real).within("maps")
        coarse = (t.shape[1], 4, 4)
        parts = [own.normal(part, coarse) * 0.5**0.5 for part in ("real", "imaginary")]
        size = tuple(t.shape[-2:])
        smooth = [interpolate(p, size, mode="bicubic", align_corners=True) for p in parts]
        return t * (1 + strength * torch.complex(*smooth))


def changed_field(
    tree: Any, name: str, change: Callable[[Tensor, Draws], Tensor], draws: Draws
) -> Any:
    """The same operator with the tensor of this name changed, also in the operators inside it.

    An operator of some of the samples is changed with the draws of those samples.
    """

    def own(node: Any) -> Any:
        if isinstance(node, Grouped):
            pairs = zip(node.operators, node.places, strict=True)
            parts = tuple(
                changed_field(A, name, change, draws.take(at.tolist())) for A, at in pairs
            )
            return node if all(map(is_, parts, node.operators)) else replace(node, operators=parts)
        held = vars(node).get(name) if is_dataclass(node) else None
        return replace(node, **{name: change(held, draws)}) if isinstance(held, Tensor) else None

    return map_tensors(lambda t: t, tree, own)


MATCHED = "matched"
"""The name of the baseline: the forward model is right."""


@dataclass(frozen=True)
class Robustness(Evaluation):
    """The operator trained on, where the reconstruction assumes another one, or other noise.

    Args:
        mismatches: by name; those that do not apply to the operator are left out, with no rows.
    """

    mismatches: Mapping[str, Mismatch]

    def __post_init__(self) -> None:
        if not self.mismatches:
            raise ConfigError("mismatches = {}: name at least one, or use no evaluation.")

    def check(self, reconstructor: Reconstructor, physics: Physics, operator: Operator) -> None:
        draws = Draws(0, range(1))
        for mismatch in self.mismatches.values():
            strength = mismatch.strengths[0]
            assumed = mismatch.assumed(operator, strength, draws)
            if assumed is not None and mismatch.actual(physics, strength) is not None:
                return
        raise ConfigError(
            f"Robustness.mismatches: {type(physics).__name__} has nothing that "
            f"{listing(self.mismatches)} could be wrong about; choose others."
        )

    def run(self, context: Context) -> dict[str, float]:
        rows = self.sweep(context)
        return write_sweep(context.folder, rows, context.run.name, context.trained_on)

    @torch.no_grad()
    def sweep(self, context: Context) -> list[MismatchRow]:
        """One row per image, mismatch, strength and metric; the matched ones first.

        The draws of the noise are those of the matched measurement, so that only the mismatch
        differs. A mismatch that does not apply has no rows.

        Raises:
            ConfigError: no mismatch applies.
        """
        operator = measure(
            context.physics, context.test_batches()[0], context.seed, "test"
        ).operator
        self.check(context.reconstructor, context.physics, operator)
        rows = list(_rows(context, MATCHED, 0.0, None))
        for name, mismatch in self.mismatches.items():
            for strength in mismatch.strengths:
                rows += _rows(context, name, strength, mismatch)
        return rows


def _rows(
    context: Context, name: str, strength: float, mismatch: Mismatch | None
) -> Iterator[MismatchRow]:
    physics = context.physics if mismatch is None else mismatch.actual(context.physics, strength)
    if physics is None:
        return
    for batch in context.test_batches():
        y, operator, _ = measure(physics, batch, context.seed, "test")
        # The network is given the level of the noise that it was trained for.
        level = context.physics.noise_level(
            y, operator, Draws(context.seed, batch.positions, "test")
        )
        if mismatch is not None:
            draws = Draws(context.seed, batch.positions, "test").within("mismatch")
            assumed = mismatch.assumed(operator, strength, draws)
            if assumed is None:
                return
            operator = assumed
        solution = context.reconstructor.solve(y, operator, noise_level=level)
        check_finite(solution.image, batch.names, f"{name} {strength:g}")
        flags = convergence_flags(solution)
        for metric, values in context.metrics(solution.image, batch.images).items():
            for image, flag, value in zip(batch.names, flags, values.tolist(), strict=True):
                yield MismatchRow(name, strength, flag, image, metric, value)


Means = Mapping[tuple[str, float, str], float]
"""By mismatch, strength and metric, over the images."""


def means(rows: Sequence[MismatchRow]) -> Means:
    """The mean over the images of everything that was measured, in its order."""
    found: dict[tuple[str, float], list[MismatchRow]] = {}
    for row in rows:
        found.setdefault((row.mismatch, row.strength), []).append(row)
    metrics = dict.fromkeys(row.metric for row in rows)
    return {(*key, metric): mean(own, metric) for key, own in found.items() for metric in metrics}


def table(found: Means, metric: str) -> Matrix:
    """A metric by mismatch and strength, 0 being the matched baseline; NaN where not measured."""
    strengths = sorted({strength for _, strength, _ in found})
    names = [n for n in dict.fromkeys(name for name, _, _ in found) if n != MATCHED]
    keys = [[(n if s else MATCHED, s, metric) for s in strengths] for n in names]
    cells = [tuple(found.get(key, nan) for key in line) for line in keys]
    columns = tuple(f"{s:g}" for s in strengths)
    return Matrix(f"{metric}: mismatch \\ strength", tuple(names), columns, tuple(cells))


def write_sweep(
    directory: Path, rows: Sequence[MismatchRow], run: str, trained_on: str
) -> dict[str, float]:
    """Write the rows of a sweep, the tables and the figure, and return the main figures."""
    from unfold.evaluation.figures import robustness_figure  # imports Matplotlib
    from unfold.evaluation.report import warn_undefined

    write_rows(directory / "robustness.csv", rows, run=run, trained_on=trained_on)
    found = means(rows)
    metrics = list(dict.fromkeys(metric for _, _, metric in found))
    tables, first = [table(found, metric) for metric in metrics], metrics[0]
    write_text(directory / "robustness.md", "\n".join(to_markdown(one) for one in tables))
    write_text(directory / f"robustness_{first}.csv", to_csv(tables[0]))
    scores = {f"test/{metric}": found[MATCHED, 0.0, metric] for metric in metrics}
    scores |= warn_undefined(undefined(row for row in rows if row.mismatch == MATCHED))
    curves: dict[str, list[tuple[float, float]]] = {}
    for (name, strength, metric), value in found.items():
        if name != MATCHED and metric == first:
            curves.setdefault(name, []).append((strength, value))
    robustness_figure(curves, scores[f"test/{first}"], first, directory / "robustness.png")
    worst = {f"test/{first}, {n} {p[-1][0]:g}": p[-1][1] for n, p in curves.items()}
    return {name: value for name, value in (scores | worst).items() if not isnan(value)}
