"""What must hold on a device that is not the CPU, simulated or real."""

from typing import NamedTuple

import torch
from torch import Tensor

from tests.shipped import files
from unfold.config.build import configure
from unfold.config.check import Components
from unfold.errors import ConfigError, ShapeError
from unfold.models.model import Solution
from unfold.random import Draws

BASE = ("trainer.progress=false", "evaluation=none")
MODELS = {
    "unfolded": (),
    "untied": ("trainable.untied=[algo.stepsize,prior.*]",),
    "checkpointed": ("model/backward=checkpoint",),
    "valid_blur": ("physics=valid_blur", "algo=hqs"),
    "primal_dual": ("algo=pdhg",),
    "equilibrium": ("algo=admm", "model=deq", "prior=nonexpansive"),
    "jacobian_free": ("model=deq", "prior=nonexpansive", "model/backward=jacobian_free"),
    "classical": ("algo=admm", "prior=tv", "model=classical", "model.max_iterations=40"),
}
SHAPES = (
    (1, 32, 32),
    (3, 32, 32),
    (1, 64, 64),
    (1, 33, 33),
    (1, 66, 66),
    (2, 32, 32),
    (1, 48, 48),
    (3, 48, 48),
)
OTHER_PRIOR = ("algo=gd", "prior=tikhonov", "start=back_projection")
DRAWS = Draws(seed=0, images=range(2))


class Step(NamedTuple):
    """A training step.

    solution: of the reconstruction.
    network: the reconstructor, after the step.
    """

    solution: Solution
    network: torch.nn.Module


def components(*overrides: str) -> Components:
    found = configure([*BASE, *overrides]).components
    assert found is not None
    return found


def forward(made: Components, device: str) -> Solution:
    """Measure and reconstruct on a device."""
    net = made.reconstructor.to(device)
    y, operator = made.physics.measure(torch.rand(2, 1, 32, 32).to(device), DRAWS)
    return net.solve(y, operator)


def training_step(made: Components, device: str) -> Step:
    """Forward, backward and a step of an optimizer; without the last two if nothing is learned."""
    solution = forward(made, device)
    learned = [p for p in made.reconstructor.parameters() if p.requires_grad]
    if learned:
        optimizer = torch.optim.SGD(learned, lr=1e-3)
        solution.image.square().mean().backward()
        optimizer.step()
    return Step(solution, made.reconstructor)


def operators(name: str) -> list[str]:
    """The overrides of a physics that make a configuration of it."""
    amplitudes = "phase" in name or name == "ptychography"
    fidelity = ["fidelity=amplitude"] if amplitudes else []
    return [*OTHER_PRIOR, *fidelity, f"physics={name}"]


def physics_names() -> list[str]:
    """The options of `physics` that grey photographs can be measured by."""
    colour = {"colorization", "demosaicing", "pan_sharpening", "spectral_imaging"}
    return [name for name in files("physics") if name not in colour]


def measure_and_solve(made: Components, device: str) -> list[Tensor]:
    """y, Ax, A*y and (I + γA*A)⁻¹x on a device, for the first legal shape."""
    for shape in SHAPES:
        try:
            made.physics.sample(DRAWS, shape)
        except (ShapeError, ConfigError):
            continue
        x = torch.rand(2, *shape).to(device)
        y, operator = made.physics.measure(x, DRAWS)
        image = x + 0j if operator.complex_images else x
        measured = y + 0j if operator.complex_measurements and not y.is_complex() else y
        found = [y, operator.A(image), operator.back_project(measured)]
        return [*found, operator.solve_normal(image, 0.3)] if operator.linear else found
    raise AssertionError(f"no legal shape among {SHAPES}")
