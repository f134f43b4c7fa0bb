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
from unfold.data.example import Batch
from unfold.denoisers.ridge import norm_squared
from unfold.physics.base import Examples
from unfold.training.module import Training, TrainingOptions


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


def test_the_norm_of_convolutions_does_not_synchronize():
    weights = [torch.rand(4, 2, 3, 3), torch.rand(3, 4, 5, 5)]
    expected = norm_squared(weights)
    with ghost_device() as device:
        found = norm_squared([w.to(NAME) for w in weights])
        assert device.synchronizations == 0 and found.device.type == NAME
        torch.testing.assert_close(found.to("cpu"), expected)


MEASURED = {
    "multicoil_mri": ("physics.mask=data", "start=back_projection"),
    "tomography": ("start=back_projection", "physics/noise=measured", "physics.noise.sigma=0.1"),
}


def measured(name):
    """Two examples of what a scanner would give for a physics, on the CPU."""
    x = torch.rand(2, 1, 32, 32)
    if name == "tomography":
        y = torch.rand(2, 1, 12, 46)
        angles = torch.linspace(0, 165, 12, dtype=torch.float64).expand(2, 12)
        return Examples(x, y, {"angles": angles, "axis": torch.zeros(2)})
    mask = torch.ones(2, 1, 1, 32)
    mask[..., 10:16:2] = 0
    maps = torch.full((2, 3, 32, 32), 3**-0.5, dtype=torch.complex64)
    y = mask * torch.randn(2, 3, 32, 32, dtype=torch.complex64)
    return Examples(x + 0j, y[:, None], {"mask": mask, "maps": maps})


@pytest.mark.parametrize("name", MEASURED)
def test_a_training_step_on_measured_data_never_synchronizes(name):
    made = components(f"physics={name}", *MEASURED[name])
    parts = (made.physics, made.loss, made.optimizer, made.scheduler, made.metrics)
    batch = Batch(measured(name), torch.arange(2), 0)
    with ghost_device() as device:
        training = Training(made.reconstructor.to(NAME), *parts, TrainingOptions(0))
        moved = training.transfer_batch_to_device(batch, torch.device(NAME), 0)
        _, loss = training.compare(moved, "train")
        loss.backward()
        assert device.synchronizations == 0 and loss.device.type == NAME
    (learned, *_) = [p for p in made.reconstructor.parameters() if p.requires_grad]
    assert learned.grad.device.type == NAME


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
