"""The operators of the package deepinv: `pip install -e '.[deepinv]'`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unfold.errors import ConfigError, ShapeError
from unfold.extras import deepinv
from unfold.physics.custom.deepinv_operator import (
    DeepinvBase,
    DeepinvNonlinear,
    DeepinvOperator,
    Method,
    SampledPhysics,
    construct,
    joined,
    kind,
    like,
    made_by,
    sample_parameters,
)
from unfold.physics.custom.functions import USER_ERRORS, BlackBoxPhysics
from unfold.random import Draws
from unfold.typing import Shape


@dataclass(frozen=True)
class DeepinvPhysics(BlackBoxPhysics):
    """y = A(x) with noise, A any physics of deepinv that acts on real images.

    The physics is built once for each size of the images, which is given to it; its random part
    depends only on the seed. A generator samples the parameters of A for every image. A list of
    measurements becomes one vector. A physics that is not linear takes algorithms that need only
    the gradient of f.

    Args:
        noise: added to the measurement; that of deepinv is not used.
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
        return made_by(self.operator)

    def sample(self, draws: Draws, shape: Shape) -> DeepinvBase:
        """The same for every image, or one for each."""
        x = torch.zeros(2, *shape, dtype=draws.dtype, device=draws.device)
        sampled = SampledPhysics(self._built(shape), (), ())
        if self.generator is not None:
            sampled = sample_parameters(
                sampled.physics, construct(self.generator, shape, self.seed), _seeds(draws)
            )
        physics = like(sampled.physics, x)
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
            names=sampled.names,
            held=tuple(t.to(x.device, kind(t, x)) for t in sampled.values),
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
        try:
            y, complex_x = _applied(physics, x), False
        except USER_ERRORS as error:
            try:
                y, complex_x = _applied(physics, x.to(x.dtype.to_complex())), True
            except USER_ERRORS:
                raise ShapeError(
                    f"{self.label} does not act on images of {tuple(x.shape[1:])}: {error}"
                ) from error
        several = isinstance(y, deepinv().utils.TensorList)
        parts = list(y) if several else [y]
        fits = all(isinstance(part, Tensor) and part.shape[:1] == (2,) for part in parts)
        if not fits or len({part.is_complex() for part in parts}) != 1:
            raise ConfigError(
                f"{self.label}: a measurement for each of 2 images is expected, a tensor or a "
                "list of real, or of complex, ones; choose another."
            )
        return y, complex_x


def _applied(physics: nn.Module, x: Tensor) -> Any:
    with torch.no_grad():
        return Method(physics)("A", x)


def _seeds(draws: Draws) -> list[int]:
    """One for each image."""

    def seed(g: np.random.Generator, _: int) -> np.ndarray:
        return np.asarray(g.integers(0, 2**31))

    found: list[int] = (
        replace(draws, dtype=torch.int64, device="cpu").each("generator", seed).tolist()
    )
    return found
