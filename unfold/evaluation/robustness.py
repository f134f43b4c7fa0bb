"""Robustness: the kernel, the coil maps or the noise level that is assumed is wrong."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from math import isnan
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

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
from unfold.physics.levels import scaled
from unfold.physics.noise.base import sigma_of, with_sigma
from unfold.physics.operator import Operator
from unfold.pytree import map_tensors
from unfold.random import Draws
from unfold.reconstructor import Reconstructor

MATCHED = "matched"
"""The name of the condition whose forward model is right."""

KERNEL, MAPS = "kernel_width", "coil_maps"

Mistake = Callable[[Operator, float], Operator]


@dataclass(frozen=True)
class Robustness(Evaluation):
    """The operator trained on, where a reconstruction assumes others of its parameters.

    The draws are those of the matched measurement, so that only the mismatch differs. One that
    does not apply to the operator is left out.

    Args:
        kernel_width: s; the kernel is assumed 1 + s times as wide, of equal support and sum.
        coil_maps: s; each coil map is assumed off by a smooth complex factor, 1 + s · e with e of
            mean 0 and variance 1.
        noise_level: s; the noise is 1 + s times as strong as in training.
    """

    kernel_width: tuple[float, ...] = bounded((0.1, 0.2, 0.4), positive)
    coil_maps: tuple[float, ...] = bounded((0.05, 0.1, 0.2), positive)
    noise_level: tuple[float, ...] = bounded((0.25, 0.5, 1.0), positive)

    def check(self, reconstructor: Reconstructor, physics: Physics, operator: Operator) -> None:
        if len(list(self._conditions(physics, operator))) == 1:
            raise ConfigError(
                f"Robustness: {type(physics).__name__} has no kernel, coil maps or noise level "
                "that could be assumed wrong, or no strength is given; use another evaluation."
            )

    def _conditions(self, physics: Physics, operator: Operator) -> Iterator[Condition]:
        """The matched one, and those whose mismatch applies; `noise` is its strength."""
        yield Condition(MATCHED, "0", physics)
        for name, strengths in ((KERNEL, self.kernel_width), (MAPS, self.coil_maps)):
            if MISTAKEN[name](operator, 0.0) is not operator:
                yield from (Condition(name, f"{s:g}", physics) for s in strengths)
        if (level := sigma_of(physics.noise)) is not None:
            for s in self.noise_level:
                noisier = physics.with_noise(with_sigma(physics.noise, scaled(level, 1 + s)))
                yield Condition("noise_level", f"{s:g}", noisier)

    @torch.no_grad()
    def run(self, context: Context) -> dict[str, float]:
        from unfold.evaluation.report import headline, main_figures, marks, write_tables

        first = measure(context.physics, next(context.test_batches()), context.seed, "test")
        rows: list[Row] = []
        for condition in self._conditions(context.physics, first.operator):
            for batch in context.test_batches():
                y, operator, _ = measure(condition.physics, batch, context.seed, "test")
                draws = Draws(context.seed, batch.positions, "test")
                # The network is given the level of the noise that it was trained for.
                level = context.physics.noise_level(y, operator, draws)
                if condition.name in MISTAKEN:
                    operator = MISTAKEN[condition.name](operator, float(condition.noise))
                case = Case(y, operator, level)
                ours = reconstruct(context, condition, batch, case)
                rows += rows_of(context, condition, batch, case, {"ours": ours})
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


def changed(name: str, kind: bool, change: Callable[[Tensor, float], Tensor]) -> Mistake:
    """The operator with a field of its parts changed by a strength; itself where none has it."""

    def mistaken(operator: Operator, strength: float) -> Operator:
        def own(node: Any) -> Any:
            held = vars(node).get(name) if is_dataclass(node) else None
            if not isinstance(held, Tensor) or held.is_complex() != kind:
                return None
            return replace(node, **{name: change(held, strength)})

        return map_tensors(lambda t: t, operator, own)

    return mistaken


def wider(h: Tensor, strength: float) -> Tensor:
    """h(u / (1 + s)) within the support of h, and of the same sum; (B, C, kh, kw)."""
    scale = 1 / (1 + strength)
    turn = h.new_tensor([[scale, 0, 0], [0, scale, 0]]).expand(len(h), 2, 3)
    grid = affine_grid(turn, list(h.shape), align_corners=True)
    wide = grid_sample(h, grid, align_corners=True)
    return wide * (h.sum((-2, -1), keepdim=True) / wide.sum((-2, -1), keepdim=True))


def disturbed(maps: Tensor, strength: float) -> Tensor:
    """S_j (1 + s e_j), e_j smooth: numbers on a grid of 4 x 4, interpolated; (B, J, H, W)."""
    draws = Draws(0, range(2), "coil_maps").like(maps)
    coarse = draws.normal("errors", (maps.shape[1], 4, 4))
    real, imaginary = interpolate(coarse, maps.shape[-2:], mode="bicubic", align_corners=True)
    return maps * (1 + strength * torch.complex(real, imaginary) / 2**0.5)


MISTAKEN: Mapping[str, Mistake] = {
    KERNEL: changed("kernel", False, wider),
    MAPS: changed("maps", True, disturbed),
}
"""The operator that is assumed in place of the right one, by the name of the mismatch."""
