"""What is refused, or doubted, of the tensors that a caller gives."""

import warnings

import torch
from torch import Tensor

from unfold.errors import DataWarning, ShapeError
from unfold.typing import Shape

FAR = 16.0
"""How many times the largest norm of a measurement cannot be meant."""

FAR_ABOVE_WHITE, FAR_IN_FILES = 8.0, 4.0
"""The same of the largest intensity, which normal numbers stay below; and of a norm in a file."""


def expect_tensor(name: str, value: object) -> None:
    """Raise a `ShapeError` for an array, or anything else that is no tensor."""
    if not isinstance(value, Tensor):
        raise ShapeError(
            f"{name} expects a tensor (batch, …), got {type(value).__module__.split('.')[0]}."
            f"{type(value).__name__}; intensities in [0, 1] are torch.as_tensor(array / 255) of an "
            "array of 8 bits."
        )


def expect_unit(name: str, x: Tensor) -> None:
    """Warn of images that are not in [0, 1], by far: of 8 bits and more, undivided."""
    numbers = x.is_floating_point() or x.is_complex()  # others are refused by the operator
    if x.device.type != "cpu" or torch.compiler.is_compiling() or not (numbers and x.numel()):
        return
    size = float(x.detach().abs().max())
    if size > FAR_ABOVE_WHITE:
        text = (
            f"{name}: intensities up to {size:.6g}, expected [0, 1]; divide by the value of white."
        )
        warnings.warn(text, DataWarning, stacklevel=3)


def expect_shape(name: str, t: object, shape: Shape) -> None:
    """Raise a `ShapeError` unless it is a tensor (batch, *shape); with what was probably meant."""
    expect_tensor(name, t)
    assert isinstance(t, Tensor)
    got = tuple(t.shape)
    if got[1:] == shape:
        return
    hint = "."
    if len(got) <= len(shape):
        hint = ": an axis is missing, of one image or one channel; x[None] adds it."
    elif sorted(got[1:]) == sorted(shape):
        hint = ": its axes are in another order; permute them, x.movedim(-1, 1) for channels."
    want = ", ".join(map(str, ("batch", *shape)))
    raise ShapeError(f"{name} expects ({want}), got {got}{hint}")
