"""What an operator computes once from its tensors."""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor

from unfold.tree import tensors


class Derived:
    """A property computed at first use and kept, unless it must carry a gradient.

    The kept value has no gradient and is no inference tensor, whatever the mode of the first
    caller. Where the operator's tensors require gradients and the caller records them, the value is
    computed anew: a kept graph is freed by the first backward pass, and the second would fail. So
    it is inside a transform of torch.func, whose tensors do not outlive it.

    Args:
        compute: the method that it decorates, from the operator to a tensor.
    """

    def __init__(self, compute: Callable[[Any], Tensor]) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, operator: None, owner: type) -> "Derived": ...

    @overload
    def __get__(self, operator: object, owner: type) -> Tensor: ...

    def __get__(self, operator: Any, owner: type) -> "Tensor | Derived":
        if operator is None:
            return self
        if torch.is_grad_enabled() and any(t.requires_grad for t in tensors(operator)):
            return self.compute(operator)
        kept, key = vars(operator), f"derived {self.compute.__name__}"
        if key not in kept:
            with torch.inference_mode(False), torch.no_grad():
                new = self.compute(operator)
            if _transformed(new):
                return new
            kept[key] = new
        value: Tensor = kept[key]
        return value


def _transformed(t: Tensor) -> bool:
    """Whether a tensor belongs to a transform of torch.func: it then has no memory of its own."""
    try:
        t.untyped_storage()
    except NotImplementedError:
        return True
    return False
