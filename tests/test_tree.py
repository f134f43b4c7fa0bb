"""Trees of tensors: order, identity, and what is shared."""

from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from unfold.pytree import (
    batched_inner,
    batched_norm,
    map_tensors,
    per_image,
    take,
    tensors,
    to_like,
    with_tensors,
)


class State(NamedTuple):
    x: Tensor
    count: int
    pair: tuple[Tensor, str]


@dataclass(frozen=True, eq=False)
class Leaf:
    kernel: Tensor
    factor: int = 2


@dataclass(frozen=True, eq=False)
class Node:
    leaf: Leaf
    mask: Tensor
    label: str = "a"
    shape: tuple[int, ...] = (1, 2)
    empty: tuple = field(default=())


def numbered(*shape: int) -> Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float64).reshape(shape)


def node() -> Node:
    return Node(Leaf(numbered(1, 3)), numbered(4, 2))


def test_tensors_come_in_the_order_of_the_fields():
    tree = (State(numbered(2), 3, (numbered(3), "s")), node())
    assert [t.shape for t in tensors(tree)] == [(2,), (3,), (1, 3), (4, 2)]
    assert tensors("text") == [] and tensors(3.0) == [] and tensors(()) == []


def test_with_tensors_puts_back_what_tensors_took():
    tree = (State(numbered(2), 3, (numbered(3), "s")), node())
    again = with_tensors(tree, [2 * t for t in tensors(tree)])
    assert isinstance(again[0], State) and isinstance(again[1], Node)
    assert again[0].count == 3 and again[0].pair[1] == "s" and again[1].leaf.factor == 2
    for t, u in zip(tensors(tree), tensors(again), strict=True):
        assert torch.equal(u, 2 * t)


def test_what_holds_no_tensor_is_shared():
    tree = node()
    assert map_tensors(lambda t: t, tree.leaf) is tree.leaf
    other = map_tensors(lambda t: t + 1 if t.shape == (4, 2) else t, tree)
    assert other.leaf is tree.leaf and other is not tree and other.label == "a"


def test_gradients_flow_through():
    tree = node()
    held = [t.clone().requires_grad_() for t in tensors(tree)]
    rebuilt = with_tensors(tree, held)
    (rebuilt.leaf.kernel.sum() * rebuilt.mask.sum()).backward()
    assert all(t.grad is not None for t in held)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_to_like_follows_the_precision_and_keeps_complex_complex(kind: torch.dtype):
    tree = (numbered(2), numbered(2) + 1j, torch.tensor([True]), torch.tensor([3]))
    real, complex_, flag, count = to_like(tree, torch.zeros(1, dtype=kind))
    assert real.dtype == kind.to_real() and complex_.dtype == kind.to_complex()
    assert flag.dtype == torch.bool and count.dtype == torch.int64


def test_take_leaves_alone_what_is_shared():
    taken = take(node(), torch.tensor([2, 0]), 4)
    assert torch.equal(taken.mask, numbered(4, 2)[[2, 0]])
    assert taken.leaf.kernel.shape == (1, 3)


@pytest.mark.parametrize("complex_", [False, True])
def test_inner_products_and_norms_are_per_sample(complex_: bool):
    g = torch.Generator().manual_seed(0)
    kind = torch.complex128 if complex_ else torch.float64
    a, b = (torch.randn(3, 2, 4, generator=g, dtype=kind) for _ in range(2))
    want = torch.stack(
        [torch.vdot(u.flatten(), v.flatten()).real for u, v in zip(a, b, strict=True)]
    )
    assert torch.allclose(batched_inner(a, b), want, rtol=1e-13)
    assert torch.allclose(batched_norm(a), batched_inner(a, a).sqrt(), rtol=1e-13)


def test_per_image_multiplies_along_the_batch():
    a = torch.ones(3, 2, 4, 5)
    assert per_image(torch.tensor([1.0, 2.0, 3.0]), a).shape == (3, 1, 1, 1)
    assert (a * per_image(torch.tensor([1.0, 2.0, 3.0]), a))[2].unique().tolist() == [3.0]
