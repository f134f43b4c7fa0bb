"""Physics: the forward model that samples an operator and its noise; all randomness is here."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor

from unfold.errors import ConfigError, DataError, ShapeError, listing
from unfold.parameters.bounds import Declared, bounded, whole
from unfold.parameters.declare import Learnable
from unfold.physics.batch import Examples as Examples
from unfold.physics.levels import all_numbers, half_and_twice
from unfold.physics.noise.base import Moments, Noise
from unfold.physics.noise.measured import DATA, MeasuredNoise
from unfold.physics.operator import Operator
from unfold.physics.wrapped import RealImages
from unfold.random import Draws
from unfold.shapes import expect_shape, expect_tensor, expect_unit
from unfold.typing import Field, Image, Measurement, PerImage, Shape

P = TypeVar("P", bound="Physics")

Taken = Mapping[str, Callable[[Tensor], Any]]

Learned = Mapping[str, Callable[[], Tensor]]


class Measured(NamedTuple):
    """A measurement, and the operator that made it."""

    y: Measurement
    operator: Operator


@dataclass(frozen=True)
class Physics(Declared, ABC):
    """A forward model y = Ax with noise, possibly random.

    Args:
        noise: applied to the clean measurement.
        learned: the values, at each call, of the fields that are learned; set by `learn_physics`.
    """

    noise: Noise
    learned: Learned = field(default_factory=dict, kw_only=True, repr=False, compare=False)

    learnable: ClassVar[Mapping[str, Learnable]] = {}
    """The fields that can be learned."""

    whole_images: ClassVar[bool] = False
    """Whether an operator acts on a whole field of view, so that a crop is measured otherwise."""

    on_host: ClassVar[tuple[str, ...]] = ()
    """Parameters of the data that make an operator on the CPU, where batches keep them."""

    varied: ClassVar[tuple[str, ...]] = ()
    """Fields, such as `ratio` or `mask.acceleration`, of which half and twice are tested too."""

    baselines: ClassVar[tuple[str, ...]] = ("back_projection", "linear", "tv")
    """What a network is compared with: the names of `evaluation.baselines`."""

    @property
    def photographic(self) -> bool:
        """Whether images are photographs, so that a network is tested on other operators too."""
        return False

    def variants(self: P) -> Mapping[str, P]:
        """Forward models on which a network of this one is tested too, by what differs in them."""
        return half_and_twice(self, self.varied)

    @abstractmethod
    def sample(self, draws: Draws, shape: Shape) -> Operator:
        """An operator for images of `shape` (C, H, W), one per image of `draws`.

        Raises:
            ShapeError: the operator cannot act on such images.
        """

    @property
    def is_deterministic(self) -> bool:
        """Whether every sample is the same operator; False unless a subclass says so."""
        return False

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """The shape of the image behind a measurement of this shape."""
        return measurement_shape

    from_data: ClassVar[Taken] = {}
    """The fields that may be `DATA`, and what stands there for the values of a batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.taken:
            if name not in self.from_data:
                can = f"only {listing(self.from_data)}" if self.from_data else "nothing"
                raise ConfigError(
                    f"{type(self).__name__}.{name} = {DATA}: {can} of it is taken from the data."
                )

    def given(self: P, examples: Examples) -> P:
        """The physics of one batch: what it takes from the data, or learns, is in its place.

        Raises:
            DataError: the data does not have it.
        """
        parameters = examples.parameters
        own = examples.measurement is not None and not isinstance(self.noise, MeasuredNoise)
        # What was measured keeps its noise, of which one that is simulated says nothing.
        noise = MeasuredNoise(None) if own else self.noise.given(parameters)
        for name in self.taken:
            if name not in parameters:
                raise self.without(name, parameters)
        physics = self.with_parameters({name: parameters[name] for name in self.taken})
        for name, value in self.learned.items():
            put = self.learnable[name].put
            physics = put(physics, value()) if put else physics.with_parameters({name: value()})
        return physics if noise is self.noise else physics.with_noise(noise)

    def with_parameters(self: P, values: Mapping[str, Tensor]) -> P:
        """The same physics with operators of these parameters, (B or 1, …), as `from_data` names.

        They may require gradients. A `ConfigError` where operators do not take one.
        """
        if unknown := values.keys() - self.from_data.keys():
            can = listing(self.from_data) if self.from_data else "none"
            raise ConfigError(
                f"{type(self).__name__} takes no parameter {listing(unknown)}. Available: {can}."
            )
        changed: dict[str, Any] = {name: self.from_data[name](t) for name, t in values.items()}
        return replace(self, **changed) if changed else self

    def prospective(self: P, examples: Examples, stated: Collection[str] = ()) -> P:
        """The physics of a measurement that is taken as it is: nothing of it is left out.

        What the data have is theirs, whatever was drawn in training, except the `stated` fields,
        which are not what was learned either.

        Raises:
            ConfigError: the operator is still random; names what to give.
        """
        have = [n for n in self.from_data if n in examples.parameters and n not in stated]
        taken: dict[str, Any] = dict.fromkeys(have, DATA)
        learned = {name: value for name, value in self.learned.items() if name not in stated}
        found = replace(self, **taken, learned=learned).given(examples)
        if not found.is_deterministic:
            lacking = [f"physics.{name}=FILE" for name in self.from_data if name not in have]
            raise ConfigError(
                f"{type(self).__name__} samples an operator for every image, and the data do not "
                "say by which this measurement was made: give "
                f"{listing(lacking) if lacking else 'a physics without ranges'}."
            )
        return found

    def without(self, name: str, parameters: Mapping[str, Tensor] = {}) -> DataError:
        """The error of a field that is taken from data which do not have it."""
        have = f"have {listing(parameters)}" if parameters else "have no parameters of operators"
        return DataError(
            f"{type(self).__name__}.{name} = {getattr(self, name)}: the data {have}. Give a file, "
            "or a distribution to draw from."
        )

    @property
    def taken(self) -> tuple[str, ...]:
        """The fields that are taken from the data."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return tuple(n for n, value in values.items() if isinstance(value, str) and value == DATA)

    def measure(self, x: Image | Examples, draws: Draws) -> Measured:
        """The measurements of a batch, and their operators.

        Images alone are measured here, by operators and noise that are drawn. What was measured
        keeps its noise: of it, `restrict` takes the part that the sampled operator measures, which
        is all of it where the parameters of the operator come from the data.

        Args:
            x: (B, C, H, W) in [0, 1]; or what a data set knows of the batch.
            draws: of the B images; they follow the precision and the device of `x`.
        """
        examples = x if isinstance(x, Examples) else Examples(x)
        physics, y, images = self.given(examples), examples.measurement, examples.images
        if y is None:
            return physics.simulate(images, draws)
        known = physics.image_shape(tuple(y.shape[1:])) if images is None else images.shape[1:]
        operator = physics.sample(draws.like(y).within("operator"), tuple(known))
        return Measured(physics.restrict(y, operator), operator)

    def restrict(self, y: Field, operator: Operator) -> Measurement:
        """The part of a full measurement that an operator makes: y, unless a subclass draws one."""
        expect_shape(f"{type(self).__name__}, measured,", y, operator.measurement_shape)
        return y

    def simulate(self, x: Image | None, draws: Draws) -> Measured:
        """Sample the operators and the noise, and measure the images (B, C, H, W)."""
        name = f"{type(self).__name__}.measure"
        expect_tensor(name, x)
        assert x is not None
        if x.ndim != 4:
            raise ShapeError(
                f"{name} expects images (batch, C, H, W), got {tuple(x.shape)}: x[None]."
            )
        expect_unit(name, x)
        draws = draws.like(x)
        operator = self.sample(draws.within("operator"), tuple(x.shape[1:]))
        return Measured(self.observed(x, operator, draws), operator)

    def observed(self, x: Image, operator: Operator, draws: Draws) -> Measurement:
        """Ax as a detector observes it, with the noise of the draws that sampled A."""
        return self.noise.apply(self.observe(operator.A(x)), draws.within("noise"))

    def moments(
        self, clean: Measurement, operator: Operator, draws: Draws, *, measured: bool = False
    ) -> Moments | None:
        """Mean and variance of y given v, as a detector observes it; None where none are known.

        Estimates of them, where `clean` is y itself: `measured`.
        """
        noise, own = self.noise.measured_by(operator), draws.within("noise")
        return noise.measured_moments(clean, own) if measured else noise.moments(clean, own)

    def noise_level(self, y: Measurement, operator: Operator, draws: Draws) -> PerImage | None:
        """σ, (B,), with σ² the mean variance of the measured entries of y, as far as y tells it.

        The draws are those of `measure`. None where the noise has no known variance.
        """
        moments = self.moments(y, operator, draws.like(y), measured=True)
        if moments is None:
            return None
        variance = moments.variance.real.expand(y.shape).flatten(1)
        entries = torch.tensor(operator.entries).to(y.device)  # the rest of a row is padding
        largest = variance.amax(1).clamp(min=0)
        share = (variance / torch.where(largest > 0, largest, 1)[:, None]).sum(1) / entries
        return (largest * share.clamp(min=0)).sqrt()

    def known_level(self, y: Measurement, operator: Operator) -> PerImage | None:
        """`noise_level`, where it needs no draws."""
        if not self.has_fixed_level:
            return None
        return self.noise_level(y, operator, Draws(0, range(len(y)), "test"))

    @property
    def has_fixed_level(self) -> bool:
        """Whether all measurements have one noise level, so that it needs no draws."""
        return all_numbers(self.noise)

    @property
    def supports_sure(self) -> bool:
        """Whether the noise does: Stein's unbiased risk estimate is defined."""
        return self.noise.supports_sure

    def probe(self, y: Measurement, operator: Operator, draws: Draws) -> Measurement:
        """Normal numbers b with E|b|² = 1, real or complex as each entry of y, of its shape."""
        return replace(draws.like(y), dtype=y.dtype).normal("probe", y.shape[1:])

    def observe(self, v: Measurement) -> Measurement:
        """What a detector observes of v = Ax before the noise: v, unless a subclass overrides."""
        return v

    def __call__(self, x: Image) -> Measurement:
        """Measure with the draws of seed 0: a convenience for notebooks."""
        return self.measure(x, Draws(seed=0, images=range(x.shape[0]))).y

    def operator_for(self, y: Measurement, shape: Shape | None = None) -> Operator:
        """The operator behind a measurement, of a deterministic physics.

        Args:
            y: (B, …).
            shape: (C, H, W) of one image; None where the physics knows it from that of y.

        Raises:
            ConfigError: the physics is random, so that the measurement does not give the operator,
                or does not know the shape of the image.
            ShapeError: images of this shape are not measured so.
        """
        expect_tensor(f"{type(self).__name__}.operator_for", y)
        if not self.is_deterministic:
            raise ConfigError(
                f"{type(self).__name__} is random: pass the operator that measured y, "
                "`y, operator = physics.measure(x, draws)`."
            )
        draws = Draws(seed=0, images=range(1)).like(y)
        got = tuple(y.shape[1:])
        try:
            image = shape or self.image_shape(got)
        except (ValueError, IndexError) as error:  # too few axes, or too many
            raise ShapeError(
                f"{type(self).__name__} makes no measurement of shape {got}; expected (batch, …), "
                f"got {tuple(y.shape)}."
            ) from error
        operator = self.sample(draws.within("operator"), image)
        expect_shape(f"{type(self).__name__}, of images {image},", y, operator.measurement_shape)
        return operator

    def with_noise(self: P, noise: Noise) -> P:
        """The same operators under another noise."""
        return replace(self, noise=noise)


@dataclass(frozen=True)
class StatedShape(Physics, ABC):
    """A physics whose measurements do not tell the sides of the image behind them.

    Args:
        shape: (C, H, W) of the image behind a measurement that does not come with it.
    """

    shape: tuple[int, ...] | None = bounded(None, whole(1), "(C, H, W)", kw_only=True)

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """(C, H, W), as stated; it does not follow from a measurement."""
        if self.shape is None:
            raise ConfigError(
                f"{type(self).__name__}.shape: measurements of {measurement_shape} do not tell the "
                f"sides of the image; give its shape, [C, H, W]{self.also(measurement_shape)}."
            )
        return tuple(self.shape)

    def also(self, measurement_shape: Shape) -> str:
        """What else is to be stated, for the message."""
        return ""


@dataclass(frozen=True)
class ComplexPhysics(Physics, ABC):
    """A forward model of complex images; `sample` restricts its operators to real images."""

    @abstractmethod
    def complex_operator(self, draws: Draws, shape: Shape) -> Operator:
        """The operator of complex images from the draws of `sample`."""

    def sample(self, draws: Draws, shape: Shape) -> Operator:
        """For real images, whose phase is 0: A*y is a real part."""
        return RealImages(self.complex_operator(draws, shape))


def expect_linear_observation(option: str, physics: Physics) -> None:
    """Raise a `ConfigError` for a physics that observes less than Ax."""
    if type(physics).observe is not Physics.observe:
        raise ConfigError(
            f"{option}: {type(physics).__name__} observes less than Ax, so that its measurements "
            "are not linear in the image and need their own fidelity; leave it out."
        )
