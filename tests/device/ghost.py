"""A simulated accelerator: CPU tensors that refuse to be combined with CPU tensors.

Without hardware it finds operations on tensors of two devices, constants made on the CPU inside a
step, and synchronizations (`.item()`, `bool(t)`, `float(t)`), which it counts. It finds neither
missing kernels nor limits of memory or speed: `make gpu` runs the same checks on a real device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "ghost"
SUPPORTED = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
"""Whether this PyTorch lets Python define a device."""

COPY, SCALAR = "aten._to_copy", "aten._local_scalar_dense"
AS_ON_CPU = {
    "aten.convolution_overrideable.default": torch.ops.aten.convolution.default,
}
"""Operations that PyTorch sends to a foreign device under another name."""


class MixedDevicesError(RuntimeError):
    """An operation received tensors of two devices."""


class Ghost(torch.Tensor):
    """A tensor on the simulated device; `raw` holds its values on the CPU."""

    raw: torch.Tensor

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> "Ghost":
        sparse = raw.layout != torch.strided  # a sparse matrix has no strides: as if dense
        strided = torch.empty(raw.shape, device="meta") if sparse else raw
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            raw.size(),
            strides=strided.stride(),
            storage_offset=strided.storage_offset(),
            dtype=raw.dtype,
            device=torch.device(NAME, 0),
        )
        made.raw = raw
        return made

    def __repr__(self) -> str:
        return f"Ghost({self.raw})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


class Device(TorchDispatchMode):
    """Sends every operation through `dispatch`, and counts synchronizations."""

    synchronizations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


def dispatch(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation on the raw tensors, if all of them are on one device."""
    name, leaves = str(func), tree_leaves((args, kwargs))
    ghosts = [t for t in leaves if isinstance(t, Ghost)]
    device = kwargs.get("device")
    if name.startswith(COPY):
        return _copied(func, args[0], kwargs)
    if name.startswith("aten.copy_"):
        _raw(args[0]).copy_(_raw(args[1]))
        return args[0]
    # A 0-d tensor on the CPU is a number to every device.
    others = [t for t in leaves if isinstance(t, torch.Tensor) and not isinstance(t, Ghost)]
    mixed = [tuple(t.shape) for t in others if t.ndim]
    if ghosts and mixed:
        raise MixedDevicesError(f"{name}: tensors on {NAME} and on the CPU, of shape {mixed}")
    if ghosts and name.startswith(SCALAR):
        Device.synchronizations += 1
    kwargs = {**kwargs, "device": "cpu"} if device is not None else kwargs
    args, kwargs = tree_map(_raw, (args, kwargs))
    if name == "aten.convolution_backward_overrideable.default":
        gradient, inputs, weight, *rest, mask = args
        backward = torch.ops.aten.convolution_backward.default
        out = backward(gradient, inputs, weight, None, *rest, mask)
    else:
        out = AS_ON_CPU.get(name, func)(*args, **kwargs)
    if not (_is_ghost(device) or (device is None and ghosts)):
        return out
    return tree_map(lambda t: _wrapped(t, ghosts), out)


def _copied(func: Any, source: Any, kwargs: dict[str, Any]) -> Any:
    """The one way from a device to another."""
    device = kwargs.get("device")
    target = source.device if device is None else device
    rest = {k: v for k, v in kwargs.items() if k not in ("device", "non_blocking")}
    moved = func(_raw(source), **rest)
    return Ghost(moved) if _is_ghost(target) else moved


def _wrapped(value: Any, operands: list[Ghost]) -> Any:
    """The value on the device; an operation in place returns its operand."""
    if not isinstance(value, torch.Tensor):
        return value
    same = [one for one in operands if one.raw is value]
    return same[0] if same else Ghost(value)


def _is_ghost(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _raw(value: Any) -> Any:
    return value.raw if isinstance(value, Ghost) else value


@contextmanager
def ghost_device() -> Iterator[Device]:
    """Register the device, once per process, and count its synchronizations."""
    if not hasattr(torch, NAME):
        backend_registration._setup_privateuseone_for_python_backend(NAME)
    Device.synchronizations = 0
    # Backward passes run in the calling thread: PyTorch's own thread of a device knows no Python.
    with torch.autograd.set_multithreading_enabled(False), Device() as device:
        yield device
