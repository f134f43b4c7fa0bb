"""The operators of the package deepinv, linear or not: `pip install -e '.[deepinv]'`."""

import inspect
from abc import ABC
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from unfold.errors import ConfigError, ShapeError
from unfold.extras import deepinv
from unfold.physics.custom.functions import USER_ERRORS, BlackBoxPhysics, name_of
from unfold.physics.nonlinear import NonlinearOperator
from unfold.physics.operator import LinearOperator, Operator
from unfold.pytree import moved, same_as
from unfold.random import Draws
from unfold.typing import Image, Measurement, Shape


def construct(make: Callable[..., Any], shape: Shape, seed: int) -> Any:
    """Call a class, or a partial one, with the size of the images where it asks for one.

    The seed is that of PyTorch's generator meanwhile.

    Raises:
        ConfigError: it refuses its arguments.
    """
    given = make.keywords if isinstance(make, partial) else {}
    asked = inspect.signature(make).parameters
    sizes = {"img_size": shape, "img_width": shape[-1]}
    more = {name: size for name, size in sizes.items() if name in asked and name not in given}
    try:
        with fixed(seed):
            return make(**more)
    except USER_ERRORS as error:
        raise ConfigError(f"{name_of(make)} refuses its arguments: {error}") from error


def sample_parameters(
    physics: nn.Module, generator: Any, seeds: list[int]
) -> tuple[nn.Module, dict[str, Tensor]]:
    """Parameters of a physics, which is not changed, for every image from its own seed.

    Returns:
        A copy in which the parameters exist, and the buffers that were sampled, (B, …) each.

    Raises:
        ConfigError: the generator samples nothing that the physics has.
    """
    copies: list[Any] = []
    for own in seeds:
        with fixed(own):
            parameters = generator.step(batch_size=1, seed=own)
        copies.append(cast(Any, physics).clone())
        copies[-1].update_parameters(**parameters)
    before, found = dict(physics.named_buffers()), [dict(c.named_buffers()) for c in copies]
    first = found[0]
    same = {n for n, t in before.items() if n in first and torch.equal(t, first[n])}
    values = {n: torch.cat([f[n] for f in found]) for n in first if n not in same}
    if not values:
        raise ConfigError(
            f"{type(physics).__name__}: the generator samples none of its parameters."
        )
    return copies[0], values


@contextmanager
def fixed(seed: int) -> Iterator[None]:
    """PyTorch's generator from a seed, and as it was afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def like(physics: nn.Module, x: Tensor) -> nn.Module:
    """A copy of a physics on the device and in the precision of `x`; complex stays complex."""
    copy: Any = cast(Any, physics).clone()
    same: nn.Module = copy._apply(lambda t: moved(t, x))
    for part in same.modules():
        own = vars(part).get("dtype")  # to which some convert what they are given
        if isinstance(own, torch.dtype):
            vars(part)["dtype"] = moved(torch.empty((), dtype=own), x).dtype
    return same


class Method(nn.Module):
    """A method of a physics, which is shared, as a function of its buffers."""

    def __init__(self, physics: nn.Module) -> None:
        super().__init__()
        self.physics = physics

    def forward(self, name: str, *given: Any) -> Any:
        return getattr(self.physics, name)(*given)


@dataclass(frozen=True, eq=False)
class DeepinvBase(Operator, ABC):
    """A map of deepinv, of real images; a list of measurements is one vector.

    Args:
        physics: a `deepinv.physics.Physics`, which is never changed.
        image_shape: of one image, (C, H, W).
        parts: the shapes of the measurements of one image; of several in a list.
        complex_y: whether measurements are complex.
        complex_x: whether the physics takes complex images; it is given real ones as such.
        names: the buffers of the physics with values per image.
        held: their values, (B, …) each.
    """

    pickles = False  # the modules of deepinv hold functions without a name

    physics: nn.Module
    image_shape: Shape
    parts: tuple[Shape, ...]
    complex_y: bool = False
    complex_x: bool = False
    names: tuple[str, ...] = ()
    held: tuple[Tensor, ...] = ()

    @property
    def measurement_shape(self) -> Shape:
        """That of the measurement; the length of the vector where there are several."""
        return self.parts[0] if len(self.parts) == 1 else (sum(map(prod, self.parts)),)

    complex_images = False
    complex_measurements = same_as("complex_y")

    @property
    def anchor(self) -> Tensor:
        own = (t for t in self.physics.buffers() if t.is_floating_point() or t.is_complex())
        return next(own, torch.empty(()))

    def forward(self, x: Image) -> Measurement:
        if x.is_complex():
            raise ShapeError(f"{type(self).__name__}.A expects real images, got {x.dtype}.")
        return joined(self._call("A", self.given(x)))

    def to_like(self, x: Tensor) -> "DeepinvBase":
        same = super().to_like(x)
        if all(moved(t, x) is t for t in self.physics.buffers()):
            return same
        return replace(same, physics=like(self.physics, x))

    def given(self, x: Image) -> Image:
        """The image as the physics takes it."""
        return x.to(x.dtype.to_complex()) if self.complex_x else x

    def split(self, y: Measurement) -> Any:
        """The measurement as the physics has it."""
        if len(self.parts) == 1:
            return y
        sizes = [prod(shape) for shape in self.parts]
        pairs = zip(torch.split(y, sizes, 1), self.parts, strict=True)
        return deepinv().utils.TensorList([part.reshape(-1, *shape) for part, shape in pairs])

    @cached_property
    def _method(self) -> Method:
        return Method(self.physics)

    def _call(self, name: str, *given: Any) -> Any:
        own = {f"physics.{n}": v for n, v in zip(self.names, self.held, strict=True)}
        return functional_call(self._method, own, (name, *given))


@dataclass(frozen=True, eq=False)
class DeepinvOperator(DeepinvBase, LinearOperator):
    """A and A* of a `LinearPhysics`; its solves are by conjugate gradients."""

    def adjoint(self, y: Measurement) -> Image:
        x: Image = self._call("A_adjoint", self.split(y))
        return x.real


@dataclass(frozen=True, eq=False)
class DeepinvNonlinear(DeepinvBase, NonlinearOperator):
    """A of a `Physics` that is not linear, with the vector–Jacobian product that it has."""

    def vjp(self, x: Image, u: Measurement) -> Image:
        """J(x)*u, by the formula of the physics, or the reverse mode of a list of measurements."""
        if len(self.parts) > 1:  # which that of deepinv does not take
            return super().vjp(x, u)
        found: Image = self._call("A_vjp", self.given(x), u)
        return found.real


def joined(y: Any) -> Tensor:
    """One tensor, or those of a list side by side."""
    if isinstance(y, Tensor):
        return y
    return torch.cat([part.flatten(1) for part in y], 1)


@dataclass(frozen=True)
class DeepinvPhysics(BlackBoxPhysics):
    """y = A(x) with noise, A any physics of deepinv that acts on real images.

    The physics is built once for each size of the images, which is given to it; its random part
    depends only on the seed. A generator samples the parameters of A for every image. A list of
    measurements becomes one vector. A physics that is not linear takes algorithms that need only
    the gradient of f.

    Args:
        noise: applied to the clean measurement; that of deepinv is not used.
        operator: makes the physics: a class with its arguments, `_partial_: true` in a yaml.
        generator: makes the `PhysicsGenerator` of its parameters; none if None.
        seed: of the physics when it is built.
    """

    operator: Callable[..., Any]
    generator: Callable[..., Any] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        deepinv()
        given = self.operator.keywords if isinstance(self.operator, partial) else {}
        for name in given:
            if name.startswith("noise"):
                raise ConfigError(
                    f"{self.label}.{name}: leave it out; the noise is a separate component."
                )

    @property
    def is_deterministic(self) -> bool:
        return self.generator is None

    @property
    def label(self) -> str:
        return name_of(self.operator)

    def sample(self, draws: Draws, shape: Shape) -> DeepinvBase:
        x = torch.zeros(2, *shape, dtype=draws.dtype, device=draws.device)
        built, values = self._built(shape), dict[str, Tensor]()
        if self.generator is not None:
            generator = construct(self.generator, shape, self.seed)
            own = replace(draws, dtype=torch.int64, device="cpu")
            seeds = own.each("generator", lambda g, _: g.integers(0, 2**31))
            built, values = sample_parameters(built, generator, seeds.tolist())
        physics = like(built, x)
        y, complex_x = self._measured(physics, x)
        parts = [y] if isinstance(y, Tensor) else list(y)
        is_linear = isinstance(physics, deepinv().physics.LinearPhysics)
        kind_of: type[DeepinvBase] = DeepinvOperator if is_linear else DeepinvNonlinear
        made = kind_of(
            physics,
            shape,
            tuple(tuple(part.shape[1:]) for part in parts),
            complex_y=joined(y).is_complex(),
            complex_x=complex_x,
            names=tuple(values),
            held=tuple(moved(t, x) for t in values.values()),
        )
        self.check_adjoint(made, x)
        return made

    @cached_property
    def _memory(self) -> dict[Shape, nn.Module]:
        return {}

    def _built(self, shape: Shape) -> nn.Module:
        """The physics for images of this shape; built at its first use."""
        if shape not in self._memory:
            physics = construct(self.operator, shape, self.seed)
            if not isinstance(physics, deepinv().physics.Physics):
                raise ConfigError(f"{self.label}: a Physics of deepinv is expected.")
            self._memory[shape] = physics
        return self._memory[shape]

    def _measured(self, physics: nn.Module, x: Tensor) -> tuple[Any, bool]:
        """What it makes of two images, a tensor or a list of them, and whether of complex ones.

        Raises:
            ShapeError: it refuses real and complex images of this shape.
            ConfigError: it makes something else of them.
        """
        apply = torch.no_grad()(Method(physics))
        try:
            y, complex_x = apply("A", x), False
        except USER_ERRORS as error:
            try:
                y, complex_x = apply("A", x.to(x.dtype.to_complex())), True
            except USER_ERRORS:
                raise ShapeError(
                    f"{self.label} does not act on images of {tuple(x.shape[1:])}: {error}"
                ) from error
        parts = list(y) if isinstance(y, deepinv().utils.TensorList) else [y]
        fits = all(isinstance(part, Tensor) and part.shape[:1] == (2,) for part in parts)
        if not fits or len({part.is_complex() for part in parts}) != 1:
            raise ConfigError(
                f"{self.label}: a measurement for each of 2 images is expected, a tensor or a "
                "list of real, or of complex, ones; choose another."
            )
        return y, complex_x
