"""What an operator computes once from its tensors."""

from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any

import torch
from torch import Tensor


def derived(compute: Callable[[Any], Tensor]) -> "cached_property[Tensor]":
    """A property computed at first use and kept, with its gradient whoever asks first.

    The first caller may be inside `no_grad` or `inference_mode`; a later one may need the gradient
    with respect to the operator's tensors. So the mode of the caller is set aside.
    """

    @wraps(compute)
    def tracked(operator: Any) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            return compute(operator)

    return cached_property(tracked)
