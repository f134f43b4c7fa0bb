"""Parameters of operators as tensors: gradients reach them, through A and through its solves."""

import pytest
import torch
from torch import Tensor

from tests.engine import DOUBLE, difference, normal, uniform
from unfold.errors import ConfigError
from unfold.fidelities.fidelity import data_term
from unfold.fidelities.l2 import L2
from unfold.physics.blur.blur import Blur, ValidBlur
from unfold.physics.denoising import Denoising
from unfold.physics.mri.cartesian import MRI, MultiCoilMRI
from unfold.physics.mri.sampling import RandomColumns
from unfold.physics.noise.base import NoNoise
from unfold.random import Draws

DRAWS = Draws(0, range(1), dtype=DOUBLE)
MASK = RandomColumns(1.0, 0.5)
NONE = NoNoise()
CASES = {
    "kernel": (Blur(NONE, "data"), {"kernel": uniform(1, 3, 3) + 0.1}),
    "kernel of a valid blur": (ValidBlur(NONE, "data"), {"kernel": uniform(1, 3, 3) + 0.1}),
    "weights of frequencies": (MRI(NONE, MASK), {"mask": uniform(1, 1, 1, 3) + 0.1}),
    "coil maps": (MultiCoilMRI(NONE, MASK), {"maps": normal(1, 2, 4, 3, dtype=torch.complex128)}),
    "maps and weights": (
        MultiCoilMRI(NONE, MASK),
        {"maps": normal(1, 2, 4, 3, dtype=torch.complex128), "mask": uniform(1, 1, 4, 3) + 0.1},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_through_the_operator_and_its_prox_are_those_of_differences(name: str):
    physics, values = CASES[name]

    def outputs(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        own = physics.with_parameters(dict(zip(values, tensors, strict=True)))
        A = own.sample(DRAWS, (1, 4, 3))
        x = uniform(1, 1, 4, 3)
        y = A.A(x)
        seen = normal(*y.shape, dtype=y.dtype)
        moved = data_term(L2(), A, seen).prox(x.to(A.A_adjoint(y).dtype), 2.0)
        return y, moved

    given = [t.clone().requires_grad_() for t in values.values()]
    assert torch.autograd.gradcheck(outputs, given, atol=1e-6)


def test_a_kernel_is_found_from_one_measurement_of_a_known_image():
    truth = torch.tensor([[0.0, 0.2, 0.1], [0.1, 0.3, 0.2], [0.0, 0.1, 0.0]], dtype=DOUBLE)[None]
    x, physics = uniform(1, 1, 16, 16), Blur(NONE, "data")
    y = physics.with_parameters({"kernel": truth}).measure(x, DRAWS).y
    logits = torch.zeros(1, 9, dtype=DOUBLE, requires_grad=True)  # on the simplex by a softmax
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(300):
        optimizer.zero_grad()
        kernel = logits.softmax(1).reshape(1, 3, 3)
        A = physics.with_parameters({"kernel": kernel}).sample(DRAWS, (1, 16, 16))
        (A.A(x) - y).square().sum().backward()
        optimizer.step()
    assert difference(kernel, truth) < 2e-2


def test_what_operators_do_not_take_is_refused():
    with pytest.raises(ConfigError, match=r"Blur takes no parameter mask. Available: kernel."):
        Blur(NONE, "data").with_parameters({"mask": uniform(1, 1, 1, 5)})
    with pytest.raises(ConfigError, match=r"Denoising takes no parameter mask. Available: none."):
        Denoising(NONE).with_parameters({"mask": uniform(1, 1, 1, 5)})
