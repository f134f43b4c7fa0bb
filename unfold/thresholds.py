"""Shrinkage towards zero, of single numbers and of groups of them."""

import torch
from torch import Tensor

from unfold.typing import Scalar


def soft(v: Tensor, threshold: Scalar) -> Tensor:
    """v / |v| · max(|v| − t, 0), for real and complex v; 0 at 0."""
    if not v.is_complex():
        return v.sign() * (v.abs() - threshold).clamp(min=0)
    size = v.abs()
    return v * ((size - threshold).clamp(min=0) / size.clamp(min=torch.finfo(size.dtype).tiny))


def length(v: Tensor, dim: int) -> Tensor:
    """‖v‖ along an axis, which stays with length 1; its derivative at 0 is 0."""
    squared = (v.abs() ** 2 if v.is_complex() else v * v).sum(dim, keepdim=True)
    return root(squared)


def root(squared: Tensor) -> Tensor:
    """√s of a square s, with derivative 0 at 0."""
    # The floor keeps the derivative of the root finite where the square vanishes.
    size = squared.clamp(min=torch.finfo(squared.dtype).tiny).sqrt()
    return torch.where(squared > 0, size, torch.zeros_like(size))
