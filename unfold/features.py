"""Numbers that describe an operator: its sampling, its norm, and what it offers by name."""

from math import prod

import torch

from unfold.errors import ConfigError, listing, nearest
from unfold.parameters.declare import NOISE_LEVEL
from unfold.physics.algebra import Composed, Stacked
from unfold.physics.batch import Grouped
from unfold.physics.inpainting import Mask
from unfold.physics.operator import Operator
from unfold.physics.wrapped import Wrapped
from unfold.typing import PerImage

COMMON = ("norm", "sampling")
"""What every operator has."""


def feature(A: Operator, name: str) -> PerImage:
    """A positive number of each sample, (B,), or one for all, (1,).

    `norm` is ‖A‖, and `sampling` counts measurements per pixel; a class of operators offers others
    by a tuple `features` of names of its properties.

    Raises:
        ConfigError: there is no such feature.
    """
    if isinstance(A, Grouped):
        return A.in_place([feature(operator, name) for operator in A.operators])
    if name == "norm":
        return A.norm_bound.sqrt()
    if name == "sampling":
        return _sampling(A)
    own: tuple[str, ...] = getattr(A, "features", ())
    if name in own:
        value: PerImage = getattr(A, name)
        return value
    if isinstance(A, Wrapped):
        return feature(A.operator, name)
    known, near = (*COMMON, *own), nearest(name, (*COMMON, *own, NOISE_LEVEL))
    raise ConfigError(
        f"{type(A).__name__} does not offer the feature '{name}'{near} "
        f"It offers: {listing(known)}, and {NOISE_LEVEL} where it is known."
    )


def _sampling(A: Operator) -> PerImage:
    """Measurements per pixel; what a mask leaves out is not measured."""
    if isinstance(A, Composed):
        share = feature(A.outer, "sampling") * prod(A.outer.image_shape)
        return share / prod(A.inner.image_shape)
    if isinstance(A, Stacked):
        return torch.stack([feature(part, "sampling") for part in A.operators]).sum(0)
    if isinstance(A, Wrapped) and A.acquired is None:
        return feature(A.operator, "sampling")
    measured = A.mask != 0 if isinstance(A, Mask) else A.acquired
    share = A.anchor.new_ones(1, dtype=A.anchor.dtype.to_real())
    if measured is not None:
        share = measured.to(share.dtype).flatten(1).mean(1)
    sizes = torch.tensor(A.entries, dtype=share.dtype, device=share.device)
    return share * sizes / prod(A.image_shape)
