"""Robustness: the kernel or the noise level that a reconstruction assumes is wrong."""

from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass, replace
from math import isnan
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from unfold.errors import ConfigError
from unfold.evaluation.base import (
    Case,
    Condition,
    Context,
    Evaluation,
    measure,
    reconstruct,
    rows_of,
)
from unfold.evaluation.records import Row, mean, pivot, write_rows
from unfold.parameters.bounds import bounded, positive
from unfold.physics.base import Physics
from unfold.physics.noise.base import sigma_of, with_sigma
from unfold.physics.operator import Operator
from unfold.pytree import map_tensors
from unfold.random import Draws
from unfold.reconstructor import Reconstructor

MATCHED = "matched"
"""The name of the condition whose forward model is right."""

KERNEL = "kernel_width"


@dataclass(frozen=True)
class Robustness(Evaluation):
    """The operator trained on, where the reconstruction assumes another kernel or weaker noise.

    The draws are those of the matched measurement, so that only the mismatch differs. One that
    does not apply to the operator is left out.

    Args:
        kernel_width: s; the kernel is assumed 1 + s times as wide, of equal support and sum.
        noise_level: s; the noise is 1 + s times as strong as in training.
    """

    kernel_width: tuple[float, ...] = bounded((0.1, 0.2, 0.4), positive)
    noise_level: tuple[float, ...] = bounded((0.25, 0.5, 1.0), positive)

    def check(self, reconstructor: Reconstructor, physics: Physics, operator: Operator) -> None:
        if len(list(self._conditions(physics, operator))) == 1:
            raise ConfigError(
                f"Robustness: {type(physics).__name__} has neither a kernel nor a noise level that "
                "could be assumed wrong, or no strength is given; use another evaluation."
            )

    def _conditions(self, physics: Physics, operator: Operator) -> Iterator[Condition]:
        """The matched one, and those whose mismatch applies; `noise` is its strength."""
        yield Condition(MATCHED, "0", physics)
        if widened(operator, 1.0) is not operator:
            yield from (Condition(KERNEL, f"{s:g}", physics) for s in self.kernel_width)
        if (level := sigma_of(physics.noise)) is not None:
            low, high = (level, level) if isinstance(level, float | int) else level
            for s in self.noise_level:
                worse = (1 + s) * low if low == high else ((1 + s) * low, (1 + s) * high)
                noisier = physics.with_noise(with_sigma(physics.noise, worse))
                yield Condition("noise_level", f"{s:g}", noisier)

    @torch.no_grad()
    def run(self, context: Context) -> dict[str, float]:
        from unfold.evaluation.report import headline, main_figures, marks, write_tables

        first = measure(context.physics, context.test_batches()[0], context.seed, "test")
        rows: list[Row] = []
        for condition in self._conditions(context.physics, first.operator):
            for batch in context.test_batches():
                y, operator, _ = measure(condition.physics, batch, context.seed, "test")
                draws = Draws(context.seed, batch.positions, "test")
                # The network is given the level of the noise that it was trained for.
                level = context.physics.noise_level(y, operator, draws)
                if condition.name == KERNEL:
                    operator = widened(operator, 1 + float(condition.noise))
                case = Case(y, operator, level)
                ours = reconstruct(context, condition, batch, case)
                rows += rows_of(context, condition, batch, {"ours": ours})
        write_rows(context.folder / "rows.csv", rows)
        for metric in dict.fromkeys(row.metric for row in rows):
            table = pivot(rows, lambda row: row.tested_on, lambda row: row.noise, metric)
            named = replace(table, corner=f"{metric}: mismatch \\ strength", notes=marks(rows))
            write_tables(context.folder, f"robustness_{metric}", named)
        scores, metric = main_figures(rows), headline(rows)
        for name in dict.fromkeys(row.tested_on for row in rows if row.tested_on != MATCHED):
            strongest = [r for r in rows if r.tested_on == name][-1].noise
            found = [r for r in rows if (r.tested_on, r.noise) == (name, strongest)]
            scores[f"test/{metric}, {name} {strongest}"] = mean(found, metric)
        return {name: value for name, value in scores.items() if not isnan(value)}


def widened(operator: Operator, factor: float) -> Operator:
    """The operator with its kernels so many times as wide; the same object where it has none."""

    def own(node: Any) -> Any:
        h = vars(node).get("kernel") if is_dataclass(node) else None
        return replace(node, kernel=_wider(h, factor)) if isinstance(h, Tensor) else None

    return map_tensors(lambda t: t, operator, own)


def _wider(h: Tensor, factor: float) -> Tensor:
    """h(u / factor) within the support of h, and of the same sum; (B, C, kh, kw)."""
    turn = h.new_tensor([[1 / factor, 0, 0], [0, 1 / factor, 0]]).expand(len(h), 2, 3)
    grid = affine_grid(turn, list(h.shape), align_corners=True)
    wide = grid_sample(h, grid, align_corners=True)
    return wide * (h.sum((-2, -1), keepdim=True) / wide.sum((-2, -1), keepdim=True))
