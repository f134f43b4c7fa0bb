"""Model mismatch: the measurement that is simulated and the one a reconstruction assumes differ."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from unfold.errors import ConfigError
from unfold.physics.base import Physics
from unfold.physics.batch import Grouped
from unfold.physics.levels import Level
from unfold.physics.noise.base import Noise, with_sigma
from unfold.physics.operator import Operator
from unfold.random import Draws


def sigma_of(noise: Noise) -> Level | None:
    """The standard deviation that a noise is declared with; None where it has none."""
    level: Level | None = vars(noise).get("sigma")
    return level


@dataclass(frozen=True)
class Mismatch(ABC):
    """One error of the forward model, at several strengths.

    Args:
        strengths: 0 is no mismatch, and is always measured; each at most `largest`.

    Raises:
        ConfigError: a strength is out of its range, or there is none.
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
    if isinstance(tree, Grouped):
        parts = tuple(
            changed_field(operator, name, change, draws.take(places.tolist()))
            for operator, places in zip(tree.operators, tree.places, strict=True)
        )
        same = all(a is b for a, b in zip(parts, tree.operators, strict=True))
        return tree if same else replace(tree, operators=parts)
    if isinstance(tree, tuple):
        items = tuple(changed_field(item, name, change, draws) for item in tree)
        return items if any(a is not b for a, b in zip(items, tree, strict=True)) else tree
    if not is_dataclass(tree) or isinstance(tree, type):
        return tree
    changed = {}
    for field in fields(tree):
        old = getattr(tree, field.name)
        new = change(old, draws) if field.name == name and isinstance(old, Tensor) else None
        new = changed_field(old, name, change, draws) if new is None else new
        if new is not old:
            changed[field.name] = new
    return replace(tree, **changed) if changed else tree
