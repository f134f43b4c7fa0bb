"""Recipes: frozen dataclasses whose scalar fields can be learned.

An algorithm or a prior declares `stepsize: Scalar = param(1.0, positive)` and reads
`self.stepsize`. `Parameters` finds the declaration, learns the value where it is asked to, and
hands out the recipe of iteration k with numbers in place.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from unfold.errors import ConfigError
from unfold.parameters.bounds import Declared, declared, warn_of_eight_bits
from unfold.parameters.constraints import Constraint
from unfold.parameters.schedules import Schedule

Unit = Literal["1", "1/‖A‖", "1/‖A‖²", "‖A‖²", "noise_level"]

MOST_LAYERS, MOST_WEIGHTS = 1_000, 2**28
"""Upper limits of a network; larger values are almost certainly typos."""


def expect_sizes(
    owner: str,
    channels: int,
    depth: int,
    width: int,
    layers: str = "depth",
    most: int = MOST_LAYERS,
    growth: int = 1,
) -> None:
    """Refuse sizes of 3×3 convolutions of which no network can be made.

    `layers` is the name of the depth, `most` its limit, and `growth` the features of the widest
    layer over those of the first.
    """
    for name, value, least in (("channels", channels, 1), (layers, depth, 2), ("width", width, 1)):
        if value < least:
            raise ConfigError(f"{owner}.{name} = {value}: must be at least {least}.")
    if depth > most:
        raise ConfigError(f"{owner}.{layers} = {depth}: must be at most {most}.")
    widest = width * growth
    weights = 9 * widest * max(widest, channels) * depth
    if weights > MOST_WEIGHTS:
        raise ConfigError(
            f"{owner}.width = {width}: with {layers} = {depth} and channels = {channels} that is "
            f"about {weights:.0e} weights; at most {MOST_WEIGHTS:.0e} are made."
        )


NOISE_LEVEL = "noise_level"
"""The word for the noise level σ of each measurement, where a number is expected."""


class Declaration(NamedTuple):
    """Declaration of a field.

    constraint: the set of its values.
    unit: what a value may be relative to, so that it transfers between operators.
    vector: whether it has several entries (one per channel or sub-band), `Recipe.entries` of them.
    is_level: whether it is a noise level, so that it may be that of the measurement.
    """

    constraint: Constraint
    unit: Unit
    vector: bool
    is_level: bool


class Learnable(NamedTuple):
    """How a field of a physics is learned.

    constraint: the set of its values.
    start: of a physics, the value to start from; None where it has no single one.
    needs: what has one, for the message.
    put: a physics with another value, which may require a gradient; None for `with_parameters`.
    samples: whether it chooses what is measured, so that y depends on it too.
    """

    constraint: Constraint
    start: Callable[[Any], Tensor | None]
    needs: str
    put: Callable[[Any, Tensor], Any] | None = None
    samples: bool = False


def param(
    default: float | Schedule,
    constraint: Constraint,
    unit: Unit = "1",
    *,
    vector: bool = False,
    is_level: bool = False,
) -> Any:
    """Declare a scalar field of a recipe: its default, the set it stays in, its unit."""
    declaration = Declaration(constraint, unit, vector, is_level)
    return dataclasses.field(default=default, metadata={"unfold": declaration})


def declarations(recipe: object) -> dict[str, Declaration]:
    """The declared scalar fields of a recipe (or of its class), by name."""
    return declared(recipe if isinstance(recipe, type) else type(recipe), "unfold")


@dataclass(frozen=True)
class Recipe(Declared):
    """Base of algorithms and priors; refuses values outside their sets."""

    dead: ClassVar[Mapping[str, str]] = {}
    """Fields that can never act in this class, and why."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, declaration in declarations(self).items():
            value = getattr(self, name)
            # Tensors come from `Parameters`, whose reparametrisation keeps them inside the set;
            # checking them here would synchronize with the device in every iteration.
            if isinstance(value, Schedule) and declaration.is_level:
                value = value.at(0)
            if isinstance(value, Tensor | Schedule):
                continue
            _refuse_outside(type(self).__name__, name, value, declaration)

    def taken(self, positions: Tensor, batch: int) -> "Recipe":
        """The recipe of some samples: only scalars differ between samples, no other tensor."""

        def part(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {key: part(item) for key, item in value.items()}
            if type(value) in (tuple, list):
                return type(value)(map(part, value))
            return value.taken(positions, batch) if isinstance(value, Recipe) else value

        changed = {f.name: part(getattr(self, f.name)) for f in dataclasses.fields(self)}
        for name in declarations(self):
            value = changed[name]
            if isinstance(value, Tensor) and value.shape[:1] == (batch,):
                changed[name] = value[positions]
        return dataclasses.replace(self, **changed)

    def entries(self, name: str) -> int:
        """How many entries the declared vector `name` has in this very recipe."""
        raise NotImplementedError(f"{type(self).__name__} does not define the length of {name}.")

    def cannot_act(self) -> Mapping[str, str]:
        """The declared fields that cannot change the result of this very recipe, and why."""
        return self.dead


def _refuse_outside(owner: str, name: str, value: object, declaration: Declaration) -> None:
    if declaration.is_level and value == NOISE_LEVEL:
        return
    if isinstance(value, bool) or not isinstance(value, int | float | list | tuple):
        word = f", or the word {NOISE_LEVEL}" if declaration.is_level else ""
        raise ConfigError(
            f"{owner}.{name} = {value!r}: a number is expected, or a list of them{word}."
        )
    try:
        values = torch.as_tensor(value, dtype=torch.get_default_dtype())
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{owner}.{name} = {value!r}: a list of numbers is expected.") from error
    if not declaration.constraint.holds(values):
        raise ConfigError(f"{owner}.{name} = {value}: must be {declaration.constraint}.")
    if declaration.is_level:
        most = float(values.max())
        if most > 16:
            raise ConfigError(
                f"{owner}.{name} = {value}: must be at most 16, of images in [0, 1]; "
                f"{most:g} of 255 is {most / 255:.4f}."
            )
        warn_of_eight_bits(f"{owner}.{name}", most)
