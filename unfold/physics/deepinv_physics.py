"""Linear operators of the package deepinv: `pip install 'unfold[deepinv]'`."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from unfold.errors import ConfigError, ShapeError
from unfold.extras import deepinv
from unfold.physics.law import Physics
from unfold.physics.operator import Operator
from unfold.random import Draws
from unfold.typing import Image, Measurement, Shape


class Method(nn.Module):
    """A method of a physics as a function of its buffers.

    Args:
        physics: of deepinv; it is shared, not copied.
    """

    def __init__(self, physics: nn.Module) -> None:
        super().__init__()
        self.physics = physics

    def forward(self, name: str, t: Tensor) -> Tensor:
        """The method `name` of the physics at t."""
        result: Tensor = getattr(self.physics, name)(t)
        return result


@dataclass(frozen=True, eq=False)
class DeepinvOperator(Operator):
    """A and A* of a linear physics of deepinv; its solves are by conjugate gradients.

    Args:
        physics: a `deepinv.physics.LinearPhysics`, which is never changed.
        shape: of one image, (C, H, W).
        measured: of one measurement.
        complex_y: whether measurements are complex.
        names: the buffers of the physics that every image has of its own.
        held: their values, (B, …) each.
    """

    pickles = False  # the modules of deepinv hold functions without a name

    physics: nn.Module
    shape: Shape
    measured: Shape
    complex_y: bool = False
    names: tuple[str, ...] = ()
    held: tuple[Tensor, ...] = ()

    @property
    def image_shape(self) -> Shape:
        return self.shape

    @property
    def measurement_shape(self) -> Shape:
        return self.measured

    @property
    def complex_images(self) -> bool:
        return False

    @property
    def complex_measurements(self) -> bool:
        return self.complex_y

    def forward(self, x: Image) -> Measurement:
        if x.is_complex():
            raise ShapeError(f"{type(self).__name__}.A expects real images, got {x.dtype}.")
        return self._call("A", x)

    def adjoint(self, y: Measurement) -> Image:
        x = self._call("A_adjoint", y)
        return x.real if x.is_complex() else x

    def to_like(self, x: Tensor) -> "DeepinvOperator":
        """The same operator on the device and in the precision of `x`."""
        moved = super().to_like(x)
        if all(t.device == x.device and _kind(t, x) == t.dtype for t in self.physics.buffers()):
            return moved
        return replace(moved, physics=like(self.physics, x))

    @cached_property
    def _method(self) -> Method:
        return Method(self.physics)

    def _call(self, name: str, t: Tensor) -> Tensor:
        own = {f"physics.{n}": v for n, v in zip(self.names, self.held, strict=True)}
        result: Tensor = functional_call(self._method, own, (name, t))
        return result


@dataclass(frozen=True)
class DeepinvPhysics(Physics):
    """y = Ax with noise, A any linear physics of deepinv.

    The physics is built once for each size of the images, which is given to it; what it draws then
    depends on the seed alone. Where there is a generator, it draws the parameters of A for every
    image.

    Args:
        noise: added to the measurement; that of deepinv is not used.
        operator: makes the physics: a class with its arguments, `_partial_: true` in a yaml.
        generator: makes the `PhysicsGenerator` of its parameters; none if None.
        seed: of what the physics draws when it is built.

    Raises:
        ConfigError: deepinv is not installed.
    """

    operator: Callable[..., Any]
    generator: Callable[..., Any] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        deepinv()

    @property
    def is_fixed(self) -> bool:
        """Whether there is no generator."""
        return self.generator is None

    def image_shape(self, measurement_shape: Shape) -> Shape:
        """The shape of the measurement, where the images have the same."""
        same = self.sample(Draws(self.seed, range(1)), measurement_shape)
        if same.measured != measurement_shape:
            raise ConfigError(
                f"{self._name}: the shape {measurement_shape} of y does not tell that of the "
                "image; pass the operator that measured y."
            )
        return measurement_shape

    def sample(self, draws: Draws, shape: Shape) -> DeepinvOperator:
        """The same for every image, or one for each.

        Raises:
            ConfigError: the physics is not linear, has noise of its own, or refuses its arguments.
            ShapeError: it does not act on such images.
        """
        like_x = torch.zeros(1, *shape, dtype=draws.dtype, device=draws.device)
        physics = self._built(shape)
        names: tuple[str, ...] = ()
        drawn: tuple[Tensor, ...] = ()
        if self.generator is not None:
            physics, names, drawn = self._draw(physics, draws, shape)
        physics = like(physics, like_x)
        y = self._measured(physics, like_x)
        held = tuple(t.to(like_x.device, _kind(t, like_x)) for t in drawn)
        return DeepinvOperator(physics, shape, tuple(y.shape[1:]), y.is_complex(), names, held)

    @cached_property
    def _memory(self) -> dict[Shape, nn.Module]:
        return {}

    @property
    def _name(self) -> str:
        made = self.operator.func if isinstance(self.operator, partial) else self.operator
        return getattr(made, "__name__", "operator")

    def _built(self, shape: Shape) -> nn.Module:
        """The physics for images of this shape; built at its first use."""
        if shape not in self._memory:
            physics = construct(self.operator, shape, self.seed)
            if not isinstance(physics, deepinv().physics.LinearPhysics):
                raise ConfigError(f"{self._name}: a LinearPhysics of deepinv is expected.")
            if not isinstance(physics.noise_model, deepinv().physics.ZeroNoise):
                raise ConfigError(f"{self._name}.noise_model: leave it out; choose physics/noise.")
            self._memory[shape] = physics
        return self._memory[shape]

    def _measured(self, physics: nn.Module, x: Tensor) -> Tensor:
        try:
            with torch.no_grad():
                y = Method(physics)("A", x)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ShapeError(
                f"{self._name} does not act on images of {tuple(x.shape[1:])}: {error}"
            ) from error
        if not isinstance(y, Tensor):
            raise ConfigError(f"{self._name}: its measurement is no single tensor; choose another.")
        return y

    def _draw(
        self, physics: nn.Module, draws: Draws, shape: Shape
    ) -> tuple[nn.Module, tuple[str, ...], tuple[Tensor, ...]]:
        """A copy whose buffers exist, the names of those that are drawn, and one of each per image.

        The numbers of an image follow from its own seed, whatever the batch.
        """
        assert self.generator is not None
        source = construct(self.generator, shape, self.seed)

        def seed(g: np.random.Generator, _: int) -> np.ndarray:
            return np.asarray(g.integers(0, 2**31))

        copies: list[Any] = []
        for own in replace(draws, dtype=torch.int64, device="cpu").each("generator", seed).tolist():
            with fixed(own):
                parameters = source.step(batch_size=1, seed=own)
            copies.append(cast(Any, physics).clone())
            copies[-1].update_parameters(**parameters)
        before, found = dict(physics.named_buffers()), [dict(c.named_buffers()) for c in copies]
        names = tuple(
            n for n, t in found[0].items() if t is not before.get(n) and _new(t, before, n)
        )
        if not names:
            raise ConfigError(f"{self._name}: the generator draws none of its parameters.")
        return copies[0], names, tuple(torch.cat([f[n] for f in found]) for n in names)


def _new(t: Tensor, before: dict[str, Tensor], name: str) -> bool:
    return name not in before or before[name].shape != t.shape or not torch.equal(before[name], t)


@contextmanager
def fixed(seed: int) -> Iterator[None]:
    """PyTorch's generator from a seed, and as it was afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def like(physics: nn.Module, x: Tensor) -> nn.Module:
    """A copy of a physics on the device and in the precision of `x`; complex stays complex."""
    copy: Any = cast(Any, physics).clone()
    moved: nn.Module = copy._apply(lambda t: t.to(x.device, _kind(t, x)))
    return moved


def _kind(t: Tensor, x: Tensor) -> torch.dtype:
    real = x.dtype.to_real()
    if t.is_complex():
        return real.to_complex()
    return real if t.is_floating_point() else t.dtype


def construct(make: Callable[..., Any], shape: Shape, seed: int) -> Any:
    """Call `make` with the size of the images, where it asks for one that is not given.

    Args:
        make: a class, or a partial one.
        shape: (C, H, W).
        seed: of PyTorch's generator meanwhile.

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
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        name = getattr(make.func if isinstance(make, partial) else make, "__name__", "operator")
        raise ConfigError(f"{name} refuses its arguments: {error}") from error
