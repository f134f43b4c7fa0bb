"""The core on a simulated device: no mixing of devices, synchronizations counted."""

import pytest
import torch

from tests.device.checks import (
    MODELS,
    components,
    forward,
    measure_and_solve,
    operators,
    physics_names,
    training_step,
)
from tests.device.ghost import NAME, Device, MixedDevicesError, ghost_device


def test_the_ghost_finds_mixed_devices_and_synchronizations():
    with ghost_device() as device:
        x = torch.rand(2, 1, 8, 8).to(NAME)
        net = torch.nn.Conv2d(1, 4, 3, padding=1).to(NAME)
        net(x).square().mean().backward()
        assert net.weight.grad.device.type == NAME and device.synchronizations == 0
        with pytest.raises(MixedDevicesError, match=r"of shape \[\(1, 1, 8, 8\)\]"):
            _ = x + torch.ones(1, 1, 8, 8)
        assert float(x.sum()) > 0 and device.synchronizations == 1
        assert (x.to("cpu") == x.raw).all()


# PyTorch's checkpointing aborts on a device that Python defines: `make gpu` has it.
TRAINED = [name for name in MODELS if name not in ("classical", "checkpointed")]


@pytest.mark.parametrize("name", TRAINED)
def test_one_training_step(name):
    made = components(*MODELS[name])
    with ghost_device():
        step = training_step(made, NAME)
    assert step.solution.image.device.type == NAME
    learned = [p for p in step.network.parameters() if p.requires_grad]
    assert learned and all(p.grad.device.type == NAME for p in learned)


def test_a_classical_algorithm():
    with ghost_device():
        assert forward(components(*MODELS["classical"]), NAME).image.device.type == NAME


@pytest.mark.parametrize("name", ["unfolded", "untied", "primal_dual"])
def test_an_unfolded_step_never_synchronizes(name):
    made = components(*MODELS[name])
    with ghost_device() as device:
        training_step(made, NAME)
    assert device.synchronizations == 0


def test_an_equilibrium_synchronizes_once_for_each_test_of_convergence():
    """Every third iteration; the backward solve, too, by its count of products."""
    made = components(*MODELS["equilibrium"])
    with ghost_device() as device:
        solution = forward(made, NAME)
        steps = int(solution.iterations.to("cpu").max())
        taken = device.synchronizations
        assert 0 < taken <= steps // 3 + 2, (taken, steps)
        solution.image.square().mean().backward()
        products = int(solution.backward.iterations.to("cpu").max())
    assert device.synchronizations - taken <= products + 2


@pytest.mark.parametrize("name", physics_names())
def test_an_operator_of_every_family(name):
    made = components(*operators(name))
    with ghost_device():
        assert all(found.device.type == NAME for found in measure_and_solve(made, NAME))


def test_a_closed_form_solve_does_not_synchronize():
    made = components(*operators("gaussian_blur"))
    with ghost_device():
        Device.synchronizations = 0
        measure_and_solve(made, NAME)
        assert Device.synchronizations == 0
