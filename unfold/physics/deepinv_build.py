"""Build, copy and move a physics of the package deepinv, and draw its parameters."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from unfold.errors import ConfigError
from unfold.physics.foreign import REFUSALS, named
from unfold.typing import Shape


class Drawn(NamedTuple):
    """A physics with parameters of its own for every image.

    physics: a copy in which the parameters exist.
    names: the buffers that were drawn.
    values: of them, (B, …) each.
    """

    physics: nn.Module
    names: tuple[str, ...]
    values: tuple[Tensor, ...]


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
    except REFUSALS as error:
        raise ConfigError(f"{made_by(make)} refuses its arguments: {error}") from error


def made_by(make: Callable[..., Any]) -> str:
    """The name of a class, also of a partial one."""
    return named(make.func if isinstance(make, partial) else make)


def draw(physics: nn.Module, generator: Any, seeds: list[int]) -> Drawn:
    """Parameters for every image from its own seed, whatever the batch.

    Args:
        physics: is not changed.
        generator: a `PhysicsGenerator`.
        seeds: of the images.

    Raises:
        ConfigError: the generator draws nothing that the physics has.
    """
    copies: list[Any] = []
    for own in seeds:
        with fixed(own):
            parameters = generator.step(batch_size=1, seed=own)
        copies.append(cast(Any, physics).clone())
        copies[-1].update_parameters(**parameters)
    before, found = dict(physics.named_buffers()), [dict(c.named_buffers()) for c in copies]
    names = tuple(n for n, t in found[0].items() if t is not before.get(n) and _new(t, before, n))
    if not names:
        raise ConfigError(f"{type(physics).__name__}: the generator draws none of its parameters.")
    return Drawn(copies[0], names, tuple(torch.cat([f[n] for f in found]) for n in names))


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
    moved: nn.Module = copy._apply(lambda t: t.to(x.device, kind(t, x)))
    for part in moved.modules():
        own = vars(part).get("dtype")  # to which some convert what they are given
        if isinstance(own, torch.dtype):
            vars(part)["dtype"] = kind(torch.empty((), dtype=own), x)
    return moved


def kind(t: Tensor, x: Tensor) -> torch.dtype:
    """That of t in the precision of x; whole numbers stay."""
    real = x.dtype.to_real()
    if t.is_complex():
        return real.to_complex()
    return real if t.is_floating_point() else t.dtype
