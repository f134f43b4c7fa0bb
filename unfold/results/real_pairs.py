"""A graph without complex numbers, which most runtimes lack: each is two real tensors in it."""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves, tree_map

from unfold.errors import ConfigError

aten: Any = torch.ops.aten


class Pair(NamedTuple):
    """re + i im."""

    re: Tensor
    im: Tensor


def pair(value: Any) -> Pair:
    """A number, a tensor or a pair as a pair."""
    if isinstance(value, Pair):
        return value
    if isinstance(value, complex):
        return Pair(torch.tensor(value.real), torch.tensor(value.imag))
    t = torch.as_tensor(value)
    return split(torch.view_as_real(t)) if t.is_complex() else Pair(t, torch.zeros_like(t))


def join(z: Any) -> Any:
    """(…, 2) of a pair; anything else as it is."""
    return torch.stack(tuple(z), -1) if isinstance(z, Pair) else z


def split(t: Tensor) -> Pair:
    """The pair of (…, 2)."""
    return Pair(*t.unbind(-1))


def _add(a: Any, b: Any, *, alpha: float = 1) -> Pair:
    (re, im), (c, d) = pair(a), pair(b)
    return Pair(re + alpha * c, im + alpha * d)


def _bilinear(product: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Pair]:
    """(a + ib)(c + id) = (ac − bd) + i(ad + bc), of which a real factor needs two products."""

    def multiplied(one: Any, other: Any) -> Pair:
        if not isinstance(one, Pair | complex):
            c, d = pair(other)
            return Pair(product(one, c), product(one, d))
        a, b = pair(one)
        if not isinstance(other, Pair | complex):
            return Pair(product(a, other), product(b, other))
        c, d = pair(other)
        return Pair(product(a, c) - product(b, d), product(a, d) + product(b, c))

    return multiplied


_multiply, _products = _bilinear(operator.mul), _bilinear(torch.matmul)


def _divide(a: Any, b: Any) -> Pair:
    if not isinstance(b, Pair | complex):
        return Pair(pair(a).re / b, pair(a).im / b)
    c, d = pair(b)
    size = c * c + d * d
    return _multiply(Pair(c / size, -d / size), a)


def _squared(z: Pair) -> Tensor:
    return z.re * z.re + z.im * z.im


def _frobenius(z: Pair, order: Any, dim: Any = (-2, -1), keepdim: bool = False) -> Tensor:
    if order != "fro":
        raise _refused(f"linalg_matrix_norm {order}")
    return _squared(z).sum(dim, keepdim=keepdim).sqrt()


def _power(z: Pair, n: Any) -> Pair:
    if n != 2:
        raise _refused(f"pow, of the complex exponent {n}")
    return _multiply(z, z)


@lru_cache(maxsize=64)
def _waves(size: int, kept: int, *, inverse: bool) -> Pair:
    """exp(∓2πi jk / n), (n, kept), in double precision; of the half spectrum (kept, n)."""
    phase = 2 * np.pi * (np.outer(np.arange(size), np.arange(kept)) % size) / size
    sign, half = (1 if inverse else -1), inverse and kept < size
    weight = np.where((np.arange(kept) % size == 0) | (2 * np.arange(kept) == size), 1, 2)
    waves = [wave * (weight if half else 1) for wave in (np.cos(phase), sign * np.sin(phase))]
    return Pair(*(torch.from_numpy((w.T if half else w).copy()) for w in waves))


def _along(z: Any, dim: int, waves: Pair, product: Any) -> Any:
    moved = Pair(*(t.transpose(dim, -1) for t in z)) if _is_pair(z) else z.transpose(dim, -1)
    found = product(moved, waves)
    if not _is_pair(found):
        return found.transpose(dim, -1)
    return Pair(*(t.transpose(dim, -1) for t in found))


def _fourier(z: Any, dims: Sequence[int], norm: int, kind: str, size: int = 0) -> Any:
    """A transform by matrices in double precision, as exact in every runtime and for every size.

    `norm` is that of PyTorch: no factor, 1/√N, 1/N; `kind` is forward, inverse, half or real.
    """
    first = z.re if _is_pair(z) else z
    z = Pair(z.re.double(), z.im.double()) if _is_pair(z) else z.double()
    *others, last = dims
    shape = {d: first.shape[d] for d in dims} | ({last: size} if kind == "real" else {})
    if kind == "half":
        z = _along(z, last, _waves(shape[last], shape[last] // 2 + 1, inverse=False), _products)
    inverse = kind in ("inverse", "real")
    for d in others if kind in ("half", "real") else dims:
        z = _along(z, d, _waves(shape[d], shape[d], inverse=inverse), _products)
    if kind == "real":
        z = _along(z, last, _waves(size, size // 2 + 1, inverse=True), _real_product)
    factor = math.prod(shape.values()) ** (-norm / 2)
    if isinstance(z, Tensor):
        return (factor * z).to(first.dtype)
    return Pair(*((factor * part).to(first.dtype) for part in z))


def _resized(z: Any, sizes: Sequence[int], dims: Sequence[int]) -> Any:
    """Zeros after the last entries of each dimension, or without some of these."""
    shape = (z.re if _is_pair(z) else z).shape
    if tuple(sizes) == tuple(shape[d] for d in dims):
        return z
    if tuple(d % len(shape) for d in dims) != (len(shape) - 2, len(shape) - 1):
        raise _refused("fft2 with s")
    ends = (0, sizes[1] - shape[-1], 0, sizes[0] - shape[-2])
    padded = [torch.nn.functional.pad(t, ends) for t in (z if _is_pair(z) else (z,))]
    return Pair(*padded) if _is_pair(z) else padded[0]


def _real_product(a: Pair, b: Pair) -> Tensor:
    return a.re @ b.re - a.im @ b.im


def _fft2(kind: str) -> Callable[..., Any]:
    """`torch.fft.fft2` and its like."""
    order = ("forward", "ortho", "backward") if kind in ("inverse", "real") else ()

    def transformed(
        z: Any, s: Any = None, dim: Sequence[int] = (-2, -1), norm: str | None = None
    ) -> Any:
        names = order or ("backward", "ortho", "forward")
        size = (s[-1] if s else 2 * (z.re.shape[dim[-1]] - 1)) if kind == "real" else 0
        if s and kind != "real":
            z = _resized(z, s, dim)
        return _fourier(z, dim, names.index(norm or "backward"), kind, int(size))

    return transformed


def _constant(make: Any) -> Callable[..., Pair]:
    def made(first: Any, *given: Any, **options: Any) -> Pair:
        own = {name: value for name, value in options.items() if name == "device"}
        return pair(make(first.re if isinstance(first, Pair) else first, *given, **own))

    return made


CONSTANTS = ("zeros", "ones", "full", "zeros_like", "ones_like", "full_like")

RULES: Mapping[str, Callable[..., Any]] = {
    "add": _add,
    "sub": lambda a, b, *, alpha=1: _add(a, b, alpha=-alpha),
    "mul": _multiply,
    **dict.fromkeys(("matmul", "mm", "bmm"), _products),
    "div": _divide,
    "reciprocal": lambda z: _divide(1.0, z),
    "pow": _power,
    "conj_physical": lambda z: Pair(z.re, -z.im),
    "_conj_physical": lambda z: Pair(z.re, -z.im),
    "_conj": lambda z: Pair(z.re, -z.im),
    "abs": lambda z: _squared(z).sqrt(),
    "real": lambda z: z.re,
    "imag": lambda z: z.im,
    "complex": Pair,
    "view_as_real": join,
    "view_as_complex": split,
    "linalg_vector_norm": lambda z, *given, **options: aten.linalg_vector_norm(
        _squared(z).sqrt(), *given, **options
    ),
    "where": lambda mask, a, b: Pair(
        torch.where(mask, pair(a).re, pair(b).re), torch.where(mask, pair(a).im, pair(b).im)
    ),
    "linalg_matrix_norm": lambda z, order="fro", *given: _frobenius(z, order, *given),
    "isfinite": lambda z: z.re.isfinite() & z.im.isfinite(),
    "_to_copy": lambda z, *, dtype=None, **_: (
        pair(z) if dtype is None or dtype.is_complex else z.re.to(dtype)
    ),
    "getitem": operator.getitem,
    "_fft_c2c": lambda z, d, norm, forward: _fourier(
        z, d, norm, "forward" if forward else "inverse"
    ),
    "_fft_r2c": lambda x, d, norm, half: _fourier(x, d, norm, "half" if half else "forward"),
    "_fft_c2r": lambda z, d, norm, size: _fourier(z, d, norm, "real", int(size)),
    "fft_fft2": _fft2("forward"),
    "fft_ifft2": _fft2("inverse"),
    "fft_rfft2": _fft2("half"),
    "fft_irfft2": _fft2("real"),
    **{name: _constant(getattr(aten, name)) for name in CONSTANTS},
}
"""What an operation is for complex numbers, by its name."""

PARTS = re.compile(
    "_unsafe_view|alias|cat|clone|constant_pad_nd|detach|diagonal|expand|flip|gather|index(_select)?"
    "|lift_fresh_copy|mean|neg|pad|permute|repeat|roll|select(_scatter)?|slice(_scatter)?"
    "|split(_with_sizes)?|squeeze|stack|sum|t|transpose|unbind|unsqueeze|view"
)
"""Real linear operations: those of the real and of the imaginary part."""

CREATES = frozenset({"_fft_r2c", "fft_fft2", "fft_rfft2", "complex", "view_as_complex"})
"""Operations that make complex numbers of real ones."""


def _refused(operation: str) -> ConfigError:
    return ConfigError(
        f"the operation {operation} of complex numbers cannot be exported. format=safetensors and "
        "format=deepinv hold every network."
    )


class RealPairs(fx.Interpreter):
    """Runs a graph with pairs for complex numbers; its complex inputs and outputs are (…, 2)."""

    def run_node(self, n: fx.Node) -> Any:
        found = super().run_node(n)
        if n.op == "placeholder" and n.meta["val"].is_complex():
            return split(found)
        whole = n.op == "get_attr" and isinstance(found, Tensor) and found.is_complex()
        return pair(found) if whole else found

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        name = target.__name__.partition(".")[0]
        if name in ("view", "_unsafe_view"):  # the layout in memory is not that of complex numbers
            target = aten.reshape.default
        held = tree_leaves((args, kwargs), is_leaf=_is_pair)
        dtypes = {one for one in held if isinstance(one, torch.dtype)}
        whole = any(isinstance(one, Pair | complex) for one in held)
        if not whole and name not in CREATES and not any(one.is_complex for one in dtypes):
            return super().call_function(target, args, kwargs)
        if name in RULES:
            return RULES[name](*args, **kwargs)
        if not PARTS.fullmatch(name):
            raise _refused(name)
        each = [tree_map(partial(_part, i), args, is_leaf=_is_pair) for i in (0, 1)]
        re, im = (target(*own, **kwargs) for own in each)
        return Pair(re, im) if isinstance(re, Tensor) else list(map(Pair, re, im))

    def output(self, target: Any, args: Any, kwargs: Any) -> Any:
        return tree_map(join, args[0], is_leaf=_is_pair)


def _is_pair(value: object) -> bool:
    return isinstance(value, Pair)


def _part(i: int, value: Any) -> Any:
    return value[i] if isinstance(value, Pair) else value


class Lowered(nn.Module):
    """A decomposed graph as a module that computes with real numbers only.

    It runs once on `inputs`, which makes the matrices of its transforms before it is traced.
    """

    def __init__(self, body: fx.GraphModule, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.body = body
        self(*inputs)

    def forward(self, *inputs: Tensor) -> Any:
        return RealPairs(self.body).run(*inputs)
