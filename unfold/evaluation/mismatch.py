"""Wrong models of the measurement: what a reconstruction is told, against what happened."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from unfold.errors import ConfigError
from unfold.physics.base import Physics
from unfold.physics.batch import Grouped
from unfold.physics.noise.base import with_sigma
from unfold.physics.operator import Operator
from unfold.random import Draws


@dataclass(frozen=True)
class Mismatch(ABC):
    """One way in which the model of the measurement is wrong, at several strengths.

    Args:
        strengths: 0 is no mismatch, and is always measured; each in the range of the mismatch.

    Raises:
        ConfigError: a strength is out of its range, or there is none.
    """

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

    @property
    def largest(self) -> float:
        """The largest strength that means something."""
        return float("inf")

    def happened(self, physics: Physics, strength: float) -> Physics | None:
        """The law that measures; None where there is nothing to be wrong about."""
        return physics

    def told(self, operator: Operator, strength: float, draws: Draws) -> Operator | None:
        """The operator that reconstructs; None where there is nothing to be wrong about."""
        return operator


@dataclass(frozen=True)
class NoiseLevel(Mismatch):
    """The noise is 1 + s times as strong as the one that the network was trained on."""

    def happened(self, physics: Physics, strength: float) -> Physics | None:
        level = getattr(physics.noise, "sigma", None)
        if level is None:
            return None
        low, high = level if isinstance(level, tuple) else (level, level)
        worse = ((1 + strength) * low, (1 + strength) * high)
        noise = with_sigma(physics.noise, worse if low < high else worse[0])
        return physics.with_noise(noise)


@dataclass(frozen=True)
class Field(Mismatch):
    """A tensor of the operator is told wrong."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The field of the operator, or of an operator inside it."""

    @abstractmethod
    def wrong(self, t: Tensor, strength: float, draws: Draws) -> Tensor:
        """The tensor that the reconstruction is told."""

    def told(self, operator: Operator, strength: float, draws: Draws) -> Operator | None:
        changed: Any = changed_field(
            operator, self.name, lambda t, own: self.wrong(t, strength, own), draws
        )
        return None if changed is operator else changed


@dataclass(frozen=True)
class KernelWidth(Field):
    """The kernel is told 1 + s times as wide, inside its own support, with the same sum."""

    @property
    def name(self) -> str:
        return "kernel"

    def wrong(self, t: Tensor, strength: float, draws: Draws) -> Tensor:
        scale = 1 / (1 + strength)
        turn = t.new_tensor([[scale, 0, 0], [0, scale, 0]]).expand(len(t), 2, 3)
        grid = affine_grid(turn, list(t.shape), align_corners=True)
        wide = grid_sample(t, grid, align_corners=True)
        return wide * (t.sum((-2, -1), keepdim=True) / wide.sum((-2, -1), keepdim=True))


@dataclass(frozen=True)
class MaskErrors(Field):
    """Every entry of the mask is told wrong, seen or missing, with probability s."""

    @property
    def name(self) -> str:
        return "mask"

    @property
    def largest(self) -> float:
        return 1.0

    def wrong(self, t: Tensor, strength: float, draws: Draws) -> Tensor:
        shape = (1, *t.shape[2:])
        chance = draws.like(t).within("mask").uniform("entries", shape)
        return torch.where(chance < strength, 1 - t, t)


@dataclass(frozen=True)
class CoilErrors(Field):
    """S (1 + s e): e a smooth complex Gaussian field of variance 1, one for each coil."""

    @property
    def name(self) -> str:
        return "maps"

    def wrong(self, t: Tensor, strength: float, draws: Draws) -> Tensor:
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

    An operator of some of the samples is changed with the draws of those alone.
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
