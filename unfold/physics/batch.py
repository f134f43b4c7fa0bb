"""A batch: what is known of its samples, and one whose samples have different operators."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from unfold.errors import ShapeError
from unfold.physics.algebra import Several
from unfold.physics.operator import LinearBaseline, Operator
from unfold.physics.wrapped import Isometric
from unfold.pytree import moved, same_as
from unfold.solvers.conjugate_gradient import Until
from unfold.typing import Field, Image, Measurement, PerImage, Scalar, Shape


class Examples(NamedTuple):
    """What a data set knows of a batch: at least the images, or their measurements.

    images: x, (B, C, H, W); None where only a measurement is known.
    measurement: y, as an instrument gave it, with its own noise; None where it is simulated.
    parameters: of the operators, (B, …), by the names of the fields that take them.
    maximum: of the volume of each image, (B,), NaN where it is not known; None where none is.
    """

    images: Image | None
    measurement: Measurement | None = None
    parameters: Mapping[str, Tensor] = {}
    maximum: Tensor | None = None

    def map(self, f: Callable[[Tensor], Tensor]) -> "Examples":
        """`f` of every tensor."""
        known = (self.images, self.measurement, self.maximum)
        x, y, maximum = (None if t is None else f(t) for t in known)
        return Examples(x, y, {name: f(value) for name, value in self.parameters.items()}, maximum)

    def like(self, anchor: Tensor, on_host: Collection[str] = ()) -> "Examples":
        """On the device and in the precision of a tensor; the parameters `on_host` stay."""
        found = self.map(lambda t: moved(t, anchor))
        kept = {name: t for name, t in self.parameters.items() if name in on_host}
        return found._replace(parameters={**found.parameters, **kept})


@dataclass(frozen=True, eq=False)
class Grouped(Several):
    """(Ax)_i = A_{k(i)} x_i: every sample through its operator, those of one operator together.

    Args:
        operators: A_k, of the same shapes; each of its samples, in their order, or of all.
        family: k(i) of each sample.
        names: of the operators, where they have some.
    """

    family: tuple[int, ...]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        same_shapes({str(k): operator for k, operator in enumerate(self.operators)})
        for k, operator in enumerate(self.operators):
            if operator.batch not in (1, self.family.count(k)):
                raise ShapeError(
                    f"Grouped: operator {k} has {operator.batch} samples, and the family has "
                    f"{self.family.count(k)}."
                )

    @property
    def batch(self) -> int:
        return len(self.family)

    @property
    def entries(self) -> tuple[int, ...]:
        own = [cycle(operator.entries) for operator in self.operators]
        return tuple(next(own[k]) for k in self.family)

    @property
    def linear_samples(self) -> tuple[bool, ...]:
        own = [cycle(operator.linear_samples) for operator in self.operators]
        return tuple(next(own[k]) for k in self.family)

    def forward(self, x: Image) -> Measurement:
        return self.each(x, lambda operator, part, _: operator.forward(part))

    def adjoint(self, y: Measurement) -> Image:
        return self.each(y, lambda operator, part, _: operator.adjoint(part))

    def linearize(self, x: Image) -> Operator:
        if self.linear:
            return self
        if len(self.operators) == 1:
            return self.operators[0].linearize(x)
        pairs = zip(self.operators, self.places, strict=True)
        found = (operator.linearize(x[at.to(x.device)]) for operator, at in pairs)
        return replace(self, operators=tuple(found))

    def reference(self, like: Tensor) -> Image:
        if len(self.operators) == 1:
            return self.operators[0].reference(like)
        pairs = zip(self.operators, self.places, strict=True)
        parts = [A.reference(like).expand(len(at), *self.image_shape) for A, at in pairs]
        return torch.cat(parts)[self._order.to(like.device)]

    def linearized_data(self, y: Measurement) -> Measurement:
        return self.each(y, lambda operator, part, _: operator.linearized_data(part))

    def normal(self, x: Image) -> Image:
        return self.each(x, lambda operator, part, _: operator.normal(part))

    def solve_normal(
        self, b: Image, gamma: Scalar, start: Image | None = None, tol: Until = None
    ) -> Image:
        def solve(operator: Operator, part: Image, at: Tensor) -> Image:
            near = None if start is None else start[at]
            own = gamma[at] if isinstance(gamma, Tensor) and gamma.numel() > 1 else gamma
            return operator.solve_normal(part, own, near, tol)

        return self.each(b, solve)

    @cached_property
    def norm_squared(self) -> PerImage:
        return self.in_place([operator.norm_squared for operator in self.operators])

    @cached_property
    def norm_bound(self) -> PerImage:
        return self.in_place([operator.norm_bound for operator in self.operators])

    def in_place(self, numbers: list[Tensor]) -> PerImage:
        """What each operator has for its samples, at the places of the samples."""
        pairs = zip(numbers, self.places, strict=True)
        parts = [number.expand(len(places)) for number, places in pairs]
        like = max(parts, key=lambda t: torch.finfo(t.dtype).bits)
        return torch.cat([part.to(like) for part in parts])[self._order]

    def pseudo_inverse(self, y: Measurement) -> Image:
        return self.each(y, lambda operator, part, _: operator.pseudo_inverse(part))

    def linear_baseline(self, y: Measurement) -> LinearBaseline:
        """That of each operator, under the names of all."""
        names: list[str] = []

        def own(operator: Operator, part: Measurement, _: Tensor) -> Image:
            method, image = operator.linear_baseline(part)
            names.append(method)
            return image

        image = self.each(y, own)
        return LinearBaseline(" or ".join(dict.fromkeys(names)), image)

    def taken(self, positions: Tensor, batch: int) -> "Grouped":
        """The operator of some samples; families without samples are dropped."""
        if self.batch == 1:
            return self
        chosen = positions.tolist()
        family = [self.family[i] for i in chosen]
        kept = sorted(set(family))
        rank = {i: at for places in self.places for at, i in enumerate(places.tolist())}
        operators = []
        for k in kept:
            local = torch.tensor([rank[i] for i in chosen if self.family[i] == k])
            count = self.family.count(k)
            operators.append(self.operators[k].take(local.to(positions.device), count))
        names = tuple(self.names[k] for k in kept) if self.names else ()
        return Grouped(tuple(operators), tuple(kept.index(k) for k in family), names)

    def each(self, t: Tensor, method: Callable[[Operator, Tensor, Tensor], Tensor]) -> Tensor:
        """Apply a method of every operator to its samples, and put them back in their places.

        Args:
            t: (B, …).
            method: of the operator, its samples and their places.
        """
        if len(self.operators) == 1:
            # A single sample, as any operator of one, serves batches of every size.
            return method(self.operators[0], t, torch.arange(len(t), device=t.device))
        places = [at.to(t.device) for at in self.places]
        pairs = zip(self.operators, places, strict=True)
        parts = [method(operator, t[at], at) for operator, at in pairs]
        return torch.cat(parts)[self._order.to(t.device)]

    @cached_property
    def places(self) -> list[Tensor]:
        """The places of the samples of each operator in the batch."""
        family = torch.tensor(self.family)
        return [(family == k).nonzero().flatten() for k in range(len(self.operators))]

    @cached_property
    def _order(self) -> Tensor:
        """The place of each sample when the groups are concatenated."""
        return torch.cat(self.places).argsort()


def same_shapes(operators: "dict[str, Operator]") -> None:
    """Raise a `ShapeError` for operators whose measurements cannot form one batch."""
    images = {o.image_shape for o in operators.values()}
    kinds = {name: (o.measurement_shape, o.complex_measurements) for name, o in operators.items()}
    if len(images) > 1 or len(set(kinds.values())) > 1:
        raise ShapeError(
            f"Measurements of one batch must have one shape and kind, and here are {_text(kinds)}. "
            "Mix families that agree, such as those that measure images of the same size."
        )


def _text(kinds: dict[str, tuple[Shape, bool]]) -> str:
    """`denoising: (1, 8, 8) real; …`."""
    return "; ".join(f"{k}: {s} {'complex' if c else 'real'}" for k, (s, c) in kinds.items())


@dataclass(frozen=True, eq=False)
class Packed(Isometric):
    """Ax = (Bx, 0, …, 0), the numbers of Bx in a row; the zeros measure nothing.

    Among complex measurements real ones have the imaginary part 0, and A*y = B* Re y. Norms, moduli
    and every closed form are those of B.

    Args:
        length: of the row, at least the numbers that B measures.
        among_complex: whether the row is complex; it must be where B's measurements are.
    """

    length: int
    among_complex: bool

    def __post_init__(self) -> None:
        if self.length < self._count or self.operator.complex_measurements > self.among_complex:
            kind = "complex" if self.operator.complex_measurements else "real"
            row = "complex" if self.among_complex else "real"
            raise ShapeError(
                f"Packed: {self._count} {kind} numbers of {type(self.operator).__name__} do not "
                f"fit into {self.length} {row} ones."
            )

    @property
    def _count(self) -> int:
        return prod(self.operator.measurement_shape)

    complex_measurements = same_as("among_complex")

    @property
    def measurement_shape(self) -> Shape:
        return (self.length,)

    def post(self, v: Field) -> Measurement:
        row = v.flatten(1)
        row = row.to(row.dtype.to_complex()) if self.among_complex else row
        return pad(row, (0, self.length - self._count))

    def post_adjoint(self, y: Measurement) -> Field:
        own = y[:, : self._count].reshape(-1, *self.operator.measurement_shape)
        return own if self.operator.complex_measurements or not self.among_complex else own.real


def packing(operators: Mapping[str, Operator]) -> Callable[[Operator], Operator]:
    """What brings the measurements of operators, one of each family, into one shape and kind.

    It changes nothing where they agree, and else packs them into rows as long as the longest.

    Raises:
        ShapeError: the images differ in shape, or some are complex by nature and others not.
    """
    images = {name: (o.image_shape, o.complex_images) for name, o in operators.items()}
    if len(set(images.values())) > 1:
        raise ShapeError(
            "One batch holds images of one shape and kind, and the families expect "
            f"{_text(images)}. Mix families of the same images."
        )
    measured = {(o.measurement_shape, o.complex_measurements) for o in operators.values()}
    if len(measured) == 1:
        return lambda operator: operator
    length = max(prod(shape) for shape, _ in measured)
    among_complex = any(is_complex for _, is_complex in measured)
    return lambda operator: Packed(operator, length, among_complex)


def unpacked(operator: Operator, y: Measurement) -> Field:
    """A measurement in the shape and kind in which it was made."""
    return operator.post_adjoint(y) if isinstance(operator, Packed) else y


def packed(operator: Operator, v: Field) -> Measurement:
    """What was made, in the shape and kind in which the operator measures."""
    return operator.post(v) if isinstance(operator, Packed) else v
