"""The mismatch card: the network assumes a wrong kernel, coil map, mask, axis or noise level."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from math import isnan, nan
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
    ImageBatch,
    Result,
    measure,
    reconstruct,
    rows_of,
)
from unfold.evaluation.calibration import calibrate
from unfold.evaluation.records import Matrix, Row, mean, write_rows
from unfold.evaluation.scans import estimated
from unfold.parameters.bounds import bounded, positive, whole
from unfold.parameters.select import Trainable
from unfold.physics.base import Physics
from unfold.physics.levels import scaled
from unfold.physics.noise.base import sigma_of, with_sigma
from unfold.physics.operator import Operator
from unfold.pytree import map_tensors
from unfold.random import Draws
from unfold.reconstructor import Reconstructor, learn_physics

MATCHED = "matched"
"""The name of the condition in which what the network assumes is right."""

NOISE = "noise_level"

Mistake = Callable[[Operator, float], Operator]


@dataclass(frozen=True)
class Robustness(Evaluation):
    """The operator trained on, where another one measures than the network assumes.

    Four scenarios: ideal, measured as assumed; mismatched, measured by another operator; corrected,
    that one assumed; calibrated, it is fitted to each measurement alone, as `unfold
    calibrate` does, or the level estimated. The draws of images and noise are the same in all.

    Args:
        kernel_width: s; the kernel is 1 + s times as wide as assumed, of equal support and sum.
        coil_maps: s; each coil map is that assumed times a smooth 1 + s · e, e complex and of
            mean 0 and variance 1.
        mask: s; what is acquired, or known, is so many pixels beside what is assumed.
        axis: s; the axis of rotation is so many detectors beside where it is assumed.
        noise_level: s; the noise is 1 + s times as strong as assumed.
        images: test images at most.
        steps: of each calibration; 0 for none.
        lr: its learning rate.
    """

    kernel_width: tuple[float, ...] = bounded((0.1, 0.2, 0.4), positive)
    coil_maps: tuple[float, ...] = bounded((0.05, 0.1, 0.2), positive)
    mask: tuple[int, ...] = bounded((1, 2), whole(1), "in pixels")
    axis: tuple[float, ...] = bounded((0.5, 1.0, 2.0), positive, "in detectors")
    noise_level: tuple[float, ...] = bounded((0.25, 0.5, 1.0), positive)
    images: int = bounded(4, whole(1), "in images")
    steps: int = bounded(20, whole(0))
    lr: float = bounded(1e-1, positive)

    def check(self, reconstructor: Reconstructor, physics: Physics, operator: Operator) -> None:
        if len(list(self._conditions(physics, operator))) == 1:
            raise ConfigError(
                f"Robustness: {type(physics).__name__} has no kernel, coil maps, mask, axis or "
                "noise level that could be wrong, or no strength is given; use another evaluation."
            )

    def _conditions(self, physics: Physics, operator: Operator) -> Iterator[Condition]:
        """The matched one, and those whose mismatch applies; `noise` is its strength."""
        yield Condition(MATCHED, "0", physics)
        for name, mistake in MISTAKEN.items():
            if mistake(operator, 0.0) is not operator:
                yield from (Condition(name, f"{s:g}", physics) for s in getattr(self, name))
        if (at := getattr(physics, "axis", None)) is not None and "axis" in physics.learnable:
            moved = (replace(physics, axis=at + s) for s in self.axis)  # type: ignore[call-arg]
            pairs = zip(self.axis, moved, strict=True)
            yield from (Condition("axis", f"{s:g}", other) for s, other in pairs)
        if (level := sigma_of(physics.noise)) is not None:
            for s in self.noise_level:
                noisier = physics.with_noise(with_sigma(physics.noise, scaled(level, 1 + s)))
                yield Condition(NOISE, f"{s:g}", noisier)

    def run(self, context: Context) -> dict[str, float]:
        from unfold.evaluation.report import headline, main_figures, marks, write_tables

        first = measure(context.physics, next(context.test_batches()), context.seed, "test")
        wanted = list(self._conditions(context.physics, first.operator))
        rows: list[Row] = []
        for condition in wanted:
            left = self.images
            for batch in context.test_batches():
                if left > 0:
                    rows += self._one_batch(context, condition, batch.part(slice(left)))
                left -= len(batch.names)
        write_rows(context.folder / "rows.csv", rows)
        metric, notes = headline(rows), marks(rows)
        for name in dict.fromkeys(row.metric for row in rows):
            write_tables(context.folder, f"robustness_{name}", card(rows, name, notes))
        further = context.metrics.extra.get(metric)
        scores = main_figures([r for r in rows if r.tested_on == MATCHED], further)
        for name in dict.fromkeys(one.name for one in wanted[1:]):
            strongest = [one for one in wanted if one.name == name][-1].noise
            for method, text in (("ours", ""), ("calibrated", ", calibrated")):
                place = (name, strongest, method)
                found = [r for r in rows if (r.tested_on, r.noise, r.method) == place]
                scores[f"test/{metric}, {name} {strongest}{text}"] = mean(found, metric)
        return {name: value for name, value in scores.items() if not isnan(value)}

    def _one_batch(self, context: Context, condition: Condition, batch: ImageBatch) -> list[Row]:
        right, assumed = self._measured(context, condition, batch)
        results = {"ours": reconstruct(context, condition, batch, assumed)}
        if condition.name != MATCHED:
            results["corrected"] = reconstruct(context, condition, batch, right)
        if (found := self._calibrated(context, condition, batch, assumed)) is not None:
            results["calibrated"] = found
        with torch.no_grad():
            return rows_of(context, condition, batch, right, results)

    @torch.no_grad()
    def _measured(
        self, context: Context, condition: Condition, batch: ImageBatch
    ) -> tuple[Case, Case]:
        """What is measured under a condition, and what the network assumes."""
        draws, physics = Draws(context.seed, batch.positions, "test"), context.physics
        right = measure(condition.physics, batch, context.seed, "test")
        if condition.name not in MISTAKEN:
            operator = measure(physics, batch, context.seed, "test").operator
            level = physics.noise_level(right.y, operator, draws)
            return right, Case(right.y, operator, level)
        other = MISTAKEN[condition.name](right.operator, float(condition.noise))
        if batch.examples.measurement is not None or batch.images is None:  # it stays as it is
            return right, right._replace(operator=other)
        y = physics.given(batch.examples).observed(batch.images, other, draws.like(batch.images))
        return Case(y, other, right.noise_level), right._replace(y=y)

    def _calibrated(
        self, context: Context, condition: Condition, batch: ImageBatch, assumed: Case
    ) -> Result | None:
        """Where the network assumes what fits each measurement; None where nothing can."""
        if condition.name == NOISE:
            level = estimated(assumed.y, assumed.operator)
            case = None if level is None else assumed._replace(noise_level=level)
            return None if case is None else reconstruct(context, condition, batch, case)
        name = PARAMETERS.get(condition.name, condition.name)
        one = context.physics.learnable.get(name)
        if one is None or one.samples or not self.steps or assumed.noise_level is None:
            return None
        parts = [batch.part(slice(i, i + 1)) for i in range(len(batch.names))]
        cases = [self._fit(context, name, part, assumed, i) for i, part in enumerate(parts)]
        pairs = zip(parts, cases, strict=True)
        found = [reconstruct(context, condition, part, case) for part, case in pairs]
        images, iterations, flags = zip(*found, strict=True)
        taken, marked = ([one for part in every for one in part] for every in (iterations, flags))
        return Result(torch.cat(images), taken, marked)

    def _fit(self, context: Context, name: str, part: ImageBatch, assumed: Case, i: int) -> Case:
        """The operator of one measurement, fitted from what the network assumes."""
        physics, held = context.physics, list(fields_of(assumed.operator, name))
        if held:
            value = held[0][i : i + 1] if len(held[0]) > 1 else held[0]
            physics = physics.with_parameters({name: value[:, 0] if name == "kernel" else value})
        own, values = learn_physics(physics, Trainable((f"physics.{name}",)), simulates=False)
        values.to(assumed.y.device)
        assert assumed.noise_level is not None
        y, level = assumed.y[i : i + 1], assumed.noise_level[i : i + 1]
        examples = part.examples._replace(measurement=y)
        draws = Draws(context.seed, part.positions, "test")

        def now() -> Case:
            return Case(y, own.measure(examples, draws).operator, level)

        calibrate(context.reconstructor, [now], values, self.steps, self.lr, context.seed)
        with torch.no_grad():
            return now()


def card(rows: Sequence[Row], metric: str, notes: Sequence[str]) -> Matrix:
    """The scenarios of every mismatch; what is lost, and which share of it a calibration wins."""
    ideal = mean([r for r in rows if r.tested_on == MATCHED], metric)
    places = dict.fromkeys((r.tested_on, r.noise) for r in rows if r.tested_on != MATCHED)
    cells = []
    for place in places:
        wrong, right, fitted = (
            mean([r for r in rows if (r.tested_on, r.noise, r.method) == (*place, method)], metric)
            for method in ("ours", "corrected", "calibrated")
        )
        won = 100 * (fitted - wrong) / (right - wrong) if right != wrong else nan
        cells.append((ideal, wrong, right, fitted, ideal - wrong, won))
    head = ("ideal", "mismatched", "corrected", "calibrated", "lost", "won back in %")
    lines = tuple(f"{name} {strength}" for name, strength in places)
    return Matrix(f"{metric}: mismatch", lines, head, tuple(cells), notes)


def changed(name: str, kind: bool, change: Callable[[Tensor, float], Tensor]) -> Mistake:
    """The operator with a field of its parts changed by a strength; itself where none has it."""

    def mistaken(operator: Operator, strength: float) -> Operator:
        def own(node: Any) -> Any:
            found = vars(node).get(name) if is_dataclass(node) else None
            if not isinstance(found, Tensor) or found.is_complex() != kind:
                return None
            return replace(node, **{name: change(found, strength)})

        return map_tensors(lambda t: t, operator, own)

    return mistaken


def fields_of(tree: Any, name: str) -> Iterator[Tensor]:
    """The tensors that parts of an operator hold as a field of this name."""
    if is_dataclass(tree) and isinstance(vars(tree).get(name), Tensor):
        yield vars(tree)[name]
    elif is_dataclass(tree):
        for value in vars(tree).values():
            yield from fields_of(value, name)


def wider(h: Tensor, strength: float) -> Tensor:
    """h(u / (1 + s)) within the support of h, and of the same sum; (B, C, kh, kw)."""
    scale = 1 / (1 + strength)
    turn = torch.tensor([[scale, 0.0, 0.0], [0.0, scale, 0.0]]).to(h).expand(len(h), 2, 3)
    grid = affine_grid(turn, list(h.shape), align_corners=True)
    wide = grid_sample(h, grid, align_corners=True)
    return wide * (h.sum((-2, -1), keepdim=True) / wide.sum((-2, -1), keepdim=True))


def disturbed(maps: Tensor, strength: float) -> Tensor:
    """S_j (1 + s e_j), e_j smooth: numbers on a grid of 4 x 4, interpolated; (B, J, H, W)."""
    draws = Draws(0, range(2), "coil_maps").like(maps)
    coarse = draws.normal("errors", (maps.shape[1], 4, 4))
    real, imaginary = interpolate(coarse, maps.shape[-2:], mode="bicubic", align_corners=True)
    return maps * (1 + strength * torch.complex(real, imaginary) / 2**0.5)


def beside(mask: Tensor, strength: float) -> Tensor:
    """m(u − s) along the last axis, periodic; (B, C, H or 1, W)."""
    return mask.roll(round(strength), -1)


MISTAKEN: Mapping[str, Mistake] = {
    "kernel_width": changed("kernel", False, wider),
    "coil_maps": changed("maps", True, disturbed),
    "mask": changed("mask", False, beside),
}
"""The operator that measures in place of the one that is assumed, by the name of the mismatch."""

PARAMETERS = {"kernel_width": "kernel", "coil_maps": "maps"}
"""What `unfold calibrate` fits where a mismatch has another name."""
