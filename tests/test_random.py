"""Draws: a pure function of who asks and what for."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from unfold.random import Draws, generator

DRAWS = Draws(seed=0, images=range(6), dtype=torch.float64)


def test_the_same_question_has_the_same_answer():
    assert torch.equal(DRAWS.normal("noise", (3, 4)), DRAWS.normal("noise", (3, 4)))
    assert DRAWS.normal("noise", (3, 4)).shape == (6, 3, 4)
    assert len(DRAWS) == 6


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"seed": 2**32},
        {"seed": 2**64},
        {"seed": -1},
        {"split": "test"},
        {"epoch": 1},
        {"scope": ("operator",)},
        {"images": range(6, 12)},
    ],
    ids=str,
)
def test_everything_that_identifies_a_draw_counts(changes: dict):
    """Seeds keep all their bits: a generator of torch on the CPU would mix up 0 and 2³²."""
    other = dataclasses.replace(DRAWS, **changes)
    a, b = DRAWS.normal("noise", (500,)), other.normal("noise", (500,))
    assert not torch.equal(a, b)
    assert abs(float((a * b).mean())) < 5 / 3000**0.5


def test_names_and_scopes_are_independent():
    a, b = DRAWS.normal("kernel", (500,)), DRAWS.normal("noise", (500,))
    assert abs(float((a * b).mean())) < 5 / 3000**0.5
    c = DRAWS.within("kernel").normal("noise", (500,))
    assert not torch.equal(b, c)
    assert not torch.equal(
        DRAWS.within("a").within("b").normal("n", (5,)), DRAWS.within("ab").normal("n", (5,))
    )


def test_batch_order_and_size_do_not_matter():
    whole = DRAWS.normal("noise", (5,))
    for positions in ([4, 0, 2], [5], [1, 1]):
        assert torch.equal(DRAWS.take(positions).normal("noise", (5,)), whole[positions])
    alone = dataclasses.replace(DRAWS, images=[3])
    assert torch.equal(alone.uniform("u", (2,)), DRAWS.uniform("u", (2,))[3:4])


def test_precision_changes_the_rounding_only():
    single = dataclasses.replace(DRAWS, dtype=torch.float32)
    assert torch.equal(single.normal("noise", (9,)), DRAWS.normal("noise", (9,)).float())
    like = DRAWS.like(torch.zeros(1, dtype=torch.complex64))
    assert like.dtype == torch.float32 and like.images == DRAWS.images


def test_moments():
    many = dataclasses.replace(DRAWS, images=range(100))
    n = many.normal("n", (1000,))
    count = n.numel()
    assert abs(float(n.mean())) < 5 / count**0.5
    assert abs(float(n.var()) - 1) < 5 * (2 / count) ** 0.5
    u = many.uniform("u", (1000,), 2.0, 5.0)
    assert float(u.min()) >= 2 and float(u.max()) < 5
    assert abs(float(u.mean()) - 3.5) < 5 * 3 / 12**0.5 / count**0.5


def test_complex_numbers_share_the_variance():
    z = dataclasses.replace(DRAWS, images=range(100), dtype=torch.complex128).normal("z", (1000,))
    for part in (z.real, z.imag):
        assert abs(float(part.var()) - 0.5) < 5 * 0.5 * (2 / z.numel()) ** 0.5
    assert abs(float((z.real * z.imag).mean())) < 5 * 0.5 / z.numel() ** 0.5


def test_each_image_draws_from_its_own_philox():
    """The counter is keyed by the hash of the whole identity: written out once more here."""
    identity = (0, "train", 0, 3, (), "noise")
    key = int.from_bytes(
        hashlib.blake2b(repr(identity).encode(), digest_size=16).digest(), "little"
    )
    want = np.random.Generator(np.random.Philox(key=key)).standard_normal(4)
    assert np.array_equal(DRAWS.normal("noise", (4,))[3].numpy(), want)
    assert np.array_equal(generator(*identity).standard_normal(4), want)


def test_the_global_generators_are_neither_read_nor_moved():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    state = np.random.get_state()[1].copy()
    first = DRAWS.normal("noise", (4,))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], state)
    torch.manual_seed(1)
    assert torch.equal(DRAWS.normal("noise", (4,)), first)


def test_positions_are_those_within_the_batch():
    got = DRAWS.take([5, 2]).each("p", lambda g, position: np.asarray(float(position)))
    assert got.tolist() == [0.0, 1.0]
