"""Cost of an equilibrium, error of its gradient, and wrongly reported convergence.

Prints each value and its bar; all are counts and errors, no times:

    python benchmarks/equilibrium.py [--size 64]
"""

import argparse
import warnings
from collections import Counter
from dataclasses import replace

import torch
from torch import Tensor

from unfold.algorithms.pgd import PGD
from unfold.denoisers.denoiser import Denoiser
from unfold.denoisers.nonexpansive import NonexpansiveResNet
from unfold.fidelities.l2 import L2
from unfold.models.deq import DEQ
from unfold.models.equilibrium_gradient import Implicit
from unfold.parameters.select import Trainable
from unfold.physics.blur.convolution import CircularConvolution
from unfold.physics.inpainting import Mask
from unfold.priors.denoiser_priors import PnP
from unfold.priors.tikhonov import Tikhonov
from unfold.reconstructor import Reconstructor
from unfold.solvers.acceleration import Anderson, Broyden
from unfold.solvers.fixed_point import Picard, Solver
from unfold.solvers.gmres import GMRES
from unfold.typing import Image, Scalar

RADII = (0.5, 0.9, 0.97, 0.99)


class Counting(Denoiser):
    """Counts the calls of a network, forward and backward."""

    def __init__(self, network: Denoiser) -> None:
        super().__init__()
        self.network, self.channels = network, network.channels
        self.calls: Counter[str] = Counter()

    def forward(self, v: Image, sigma: Scalar) -> Image:
        self.calls["forward"] += 1
        out: Image = self.network(v, sigma)
        if out.requires_grad:
            out.register_hook(lambda _: self.calls.update(["backward"]))
        return out


def blurred(size: int, images: int = 2) -> tuple[Tensor, Tensor, CircularConvolution]:
    """Smooth images, their blurred measurement with noise, and the blur."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(images, 1, 8, 8, generator=generator)
    x = torch.nn.functional.interpolate(x, size=size, mode="bicubic").clamp(0, 1)
    t = torch.arange(-4.0, 5.0)
    h = torch.exp(-(t[:, None] ** 2 + t**2) / 4)
    A = CircularConvolution((h / h.sum())[None, None], (1, size, size))
    return x, A.A(x) + 0.02 * torch.randn(x.shape, generator=generator), A


def contractive(model: DEQ) -> tuple[Reconstructor, Counting]:
    """PGD with the nonexpansive network 7/32, counted."""
    torch.manual_seed(0)
    counting = Counting(NonexpansiveResNet(1))
    return Reconstructor(PGD(), PnP(counting), L2(), model), counting


def calls(size: int) -> Counter[str]:
    """Network calls of one training step at the default tolerances."""
    x, y, A = blurred(size)
    net, counting = contractive(DEQ())
    (net(y, A) - x).square().mean().backward()
    return counting.calls


def evaluations(solver: Solver) -> int:
    """Of the step of PGD to 1e-6 on a blur with Tikhonov's prior."""
    _, y, A = blurred(16, 1)
    model = DEQ(tol=1e-6, accuracy=1.0, max_iterations=4000, solver=solver)
    net = Reconstructor(PGD(lambda_reg=0.01), Tikhonov(), L2(), model).double()
    with torch.no_grad():
        solution = net.solve(y.double(), A.to_like(y.double()))
    assert bool(solution.converged.all())  # type: ignore[union-attr]
    return int(solution.iterations.max())


def residual(size: int) -> float:
    """After 50 evaluations with the contractive network, in single precision."""
    _, y, A = blurred(size, 1)
    net, _ = contractive(DEQ(tol=1e-12, max_iterations=50))
    with torch.no_grad():
        return float(net.solve(y, A).residual.max())


def gradient_error(radius: float) -> tuple[float, bool]:
    """Of the default gradient on a spread spectrum, and whether it was reported."""
    A = Mask(torch.linspace(0, 1, 64, dtype=torch.float64).reshape(1, 1, 8, 8))
    y = torch.rand(1, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tight = Implicit(1e-12, 1.0, 500, GMRES(64))
    found, reported = [], []
    for model in (DEQ(), DEQ(1e-13, 1.0, 2000, backward=tight)):
        net = Reconstructor(PGD(lambda_reg=1 / radius - 1), Tikhonov(), L2(), model).double()
        leaf = y.clone().requires_grad_()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            solution = net.solve(leaf, A)
            loss = (solution.image * (y - 0.3)).sum() + solution.image.square().sum() / 2
            found.append(torch.autograd.grad(loss, leaf)[0])
        assert solution.converged is not None
        reported.append(bool(caught) or not bool(solution.converged.all()))
    return float((found[0] - found[1]).norm() / found[1].norm()), reported[0]


def wrongly_converged() -> int:
    """Of 50 steps far beyond their range, how many are reported as converged."""
    count = 0
    _, y, A = blurred(16, 1)
    for i in range(50):
        algorithm = PGD(stepsize=2.2 + 0.3 * i, lambda_reg=1e-3)
        model = replace(DEQ(), solver=(Picard(), Anderson(), Broyden())[i % 3])
        if i % 3:
            algorithm = replace(algorithm, stepsize=1e20 * (i + 1))  # overflows in one step
        net = Reconstructor(
            algorithm, Tikhonov(), L2(), model, trainable=Trainable((), relative=())
        )
        with torch.no_grad():
            count += int(net.solve(1e20 * y, A).converged.sum())  # type: ignore[union-attr]
    return count


def main() -> None:
    """Print the values and their bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64)
    size = parser.parse_args().size
    torch.set_num_threads(1)
    count = calls(size)
    print(f"{count['forward']:8d}  network calls forward of a training step (bar 7)")
    print(f"{count['backward']:8d}  backward (bar 13)")
    plain = evaluations(Picard())
    print(f"{plain:8d}  evaluations to 1e-6 on blur + Tikhonov, plain")
    for solver in (Anderson(), Broyden()):
        taken = evaluations(solver)
        name = type(solver).__name__
        print(f"{taken:8d}  {name}, {plain / taken:.1f} times fewer (bar 5 for Anderson)")
    print(f"{residual(size):8.1e}  residual after 50 evaluations with a network (bar 1e-6)")
    for radius in RADII:
        error, reported = gradient_error(radius)
        note = "reported" if reported else "not reported"
        print(
            f"{error:8.1e}  gradient error at contraction {radius}, {note} (bar 1e-2, or reported)"
        )
    print(f"{wrongly_converged():8d}  of 50 diverging cases reported as converged (bar 0)")


if __name__ == "__main__":
    main()
