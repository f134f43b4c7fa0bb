"""Least squares through an operator, and what a fidelity without formulas says."""

import pytest
import torch
from torch import Tensor

from tests.engine import DOUBLE, blur, difference, measured, normal
from tests.proximal_properties import assert_minimises
from unfold.errors import ConfigError
from unfold.fidelities.fidelity import Fidelity, data_term
from unfold.fidelities.l2 import L2
from unfold.pytree import batched_norm


def test_the_gradient_through_the_operator_is_that_of_the_value():
    A = blur(6, batch=2)
    f = data_term(L2(), A, measured(A, batch=2))
    x = normal(2, 1, 6, 6).requires_grad_()
    (grad,) = torch.autograd.grad(f.value(x).sum(), x)
    assert difference(f.grad(x), grad) < 1e-12
    assert difference(Fidelity.grad_through(L2(), f, x), grad) < 1e-12


def test_the_prox_through_the_operator_minimises_for_each_images_own_step():
    A = blur(6, batch=2)
    f = data_term(L2(), A, measured(A, batch=2))
    gamma = torch.tensor([0.3, 20.0], dtype=DOUBLE).reshape(2, 1, 1, 1)

    def value(z: Tensor) -> Tensor:
        return torch.cat([f.value(part) for part in z.split(2)])

    assert_minimises(f.prox, value, normal(2, 1, 6, 6), gamma)


def test_the_conjugate_prox_takes_a_step_for_each_image():
    A = blur(6, batch=2)
    f, u = data_term(L2(), A, measured(A, batch=2)), normal(2, 1, 6, 6)
    sigma = torch.tensor([0.3, 2.0], dtype=DOUBLE).reshape(2, 1, 1, 1)
    got = f.prox_conj(u, sigma)
    for i in range(2):
        assert difference(got[i], L2().prox_conj(u, f.y, sigma[i].item())[i]) < 1e-14


def test_what_a_fidelity_lacks_it_names():
    class Bare(Fidelity):
        def value(self, v: Tensor, y: Tensor) -> Tensor:
            return batched_norm(v - y)

    x, f = normal(1, 1, 3, 3), data_term(Bare(), blur(3), normal(1, 1, 3, 3))
    with pytest.raises(ConfigError, match="Bare has no gradient; L2"):
        f.grad(x)
    with pytest.raises(ConfigError, match="Bare has no prox through an operator"):
        f.prox(x, 1.0)
    with pytest.raises(ConfigError, match="Bare has no prox; L2"):
        f.prox_conj(x, 1.0)
