"""Components with one fault each; every one must be caught by the kit, and no sound one accused."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tests.engine import blur, measured, network_prior, reconstructor
from unfold.algorithms.admm import ADMM, ADMMState
from unfold.algorithms.algorithm import ImageState
from unfold.algorithms.drs import DRS
from unfold.algorithms.gd import GD
from unfold.algorithms.pdhg import PDHG
from unfold.algorithms.pgd import PGD
from unfold.denoisers.nonexpansive import NonexpansiveResNet
from unfold.fidelities.l2 import L2
from unfold.fidelities.poisson import PoissonFidelity
from unfold.models.deq import DEQ
from unfold.models.equilibrium_gradient import EquilibriumBackward, Implicit, JacobianFree, Neumann
from unfold.models.model import Steps
from unfold.models.unfolded import Full, Unfolded, UnfoldedBackward
from unfold.physics.blur.convolution import CircularConvolution
from unfold.physics.denoising import Denoising
from unfold.physics.inpainting import Inpainting, Mask
from unfold.physics.noise.base import Gaussian, NoNoise
from unfold.physics.operator import Operator
from unfold.priors.box import Box
from unfold.priors.denoiser_priors import PnP
from unfold.priors.l1 import L1
from unfold.priors.tikhonov import Tikhonov
from unfold.priors.tv import TV, Differences
from unfold.problem import make_problem
from unfold.solvers.implicit import implicit
from unfold.testing import (
    Report,
    check_algorithm,
    check_equilibrium,
    check_fidelity,
    check_physics,
    check_prior,
    check_unfolded,
)
from unfold.testing.physics import check_operator
from unfold.testing.report import report

# ---- operators -----------------------------------------------------------------------------------


class FlippedKernel(CircularConvolution):
    def adjoint(self, y: Tensor) -> Tensor:
        return super().forward(y)


class MissingScale(Mask):
    def adjoint(self, y: Tensor) -> Tensor:
        return (1 + 1e-6) * super().adjoint(y)


class ShiftedByAPixel(CircularConvolution):
    def adjoint(self, y: Tensor) -> Tensor:
        return super().adjoint(y).roll(1, -1)


class OneWrongRow(Mask):
    def adjoint(self, y: Tensor) -> Tensor:
        x = super().adjoint(y)
        return torch.cat([x[..., :1, :] * 1.0003, x[..., 1:, :]], -2)


class HiddenSinglePrecision(CircularConvolution):
    def adjoint(self, y: Tensor) -> Tensor:
        return super().adjoint(y.float().double() if y.dtype == torch.float64 else y)


class Affine(Mask):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1e-9


class SquaredGamma(Mask):
    def solve_normal(self, b, gamma, start=None, tol=None):
        return super().solve_normal(b, gamma**2)


class NormTooSmall(Mask):
    @property
    def norm_squared(self) -> Tensor:
        return super().norm_squared * (1 - 1e-6)


class NormTooLarge(Mask):
    @property
    def norm_squared(self) -> Tensor:
        return super().norm_squared * 1.01


class BatchLeak(Mask):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - 1e-6 * x.mean(0))


class InPlace(Mask):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(self.mask)


class DetachedSolve(CircularConvolution):
    def solve_normal(self, b, gamma, start=None, tol=None):
        return CircularConvolution(self.kernel.detach(), self.image_shape).solve_normal(b, gamma)


class AdjointForInverse(Mask):
    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return super().adjoint(y)


class WrongNormal(Mask):
    def normal(self, x: Tensor) -> Tensor:
        return self.mask * x


class DropsDtype(Mask):
    def pseudo_inverse(self, y: Tensor) -> Tensor:
        return super().pseudo_inverse(y).float()


def kernel() -> Tensor:
    """Without symmetry, and well-conditioned."""
    h = torch.rand(2, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    h = 0.5 * h / h.sum((-2, -1), keepdim=True)
    h[..., 1, 1] += 1
    return h


def broken(kind: type[Operator]) -> Report:
    """The properties of an operator of this class."""
    if issubclass(kind, CircularConvolution):
        return report(kind.__name__, check_operator(kind(kernel(), (1, 5, 4))))
    m = torch.rand(2, 1, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    m = torch.where(m < 0.3, 0, m)
    return report(kind.__name__, check_operator(kind(m)))


# ---- physics and noise ---------------------------------------------------------------------------

SMALL = ((1, 4, 4),)


@dataclass(frozen=True)
class LoudNoise(Gaussian):
    def apply(self, clean, draws):
        return clean + 1.05 * (super().apply(clean, draws) - clean)

    def with_level(self, level):
        return LoudNoise(level)


@dataclass(frozen=True)
class LoudLaw(Denoising):
    def with_noise(self, noise):
        return replace(self, noise=LoudNoise(noise.sigma) if isinstance(noise, Gaussian) else noise)


@dataclass(frozen=True)
class NeverQuiet(Denoising):
    def with_noise(self, noise):
        return self if isinstance(noise, NoNoise) else super().with_noise(noise)


@dataclass(frozen=True)
class GlobalDraws(Inpainting):
    def sample(self, draws, shape):
        return Mask((torch.rand(len(draws), *shape) < 0.5).to(draws.dtype))


@dataclass(frozen=True)
class DrawsByPosition(Inpainting):
    def sample(self, draws, shape):
        return super().sample(replace(draws, images=range(len(draws))), shape)


# ---- priors and fidelities -----------------------------------------------------------------------


class SquaredWeight(L1):
    def prox(self, v, weight):
        return super().prox(v, weight**2)


class ForgottenHalf(Tikhonov):
    def value(self, x):
        return 2 * super().value(x)


class LeakyProx(Tikhonov):
    def prox(self, v, weight):
        return super().prox(v - 1e-9 * v.mean(0), weight)


class SingleProx(L1):
    def prox(self, v, weight):
        return super().prox(v.float(), weight).double()


class BoxNearly(Box):
    def prox(self, v, weight):
        return v.clamp(self.low, self.high + 1e-3)


class ExpansiveProx(L1):
    def prox(self, v, weight):
        return v - 1.2 * (v - super().prox(v, weight))


class ScaledGradient(Tikhonov):
    def grad(self, x):
        return (1 + 1e-6) * x


class DetachedGradient(Tikhonov):
    def grad(self, x):
        return x + 0 * x.detach() if not x.requires_grad else x.detach() + 0 * x


class ShiftedDifferences(Differences):
    def adjoint(self, y):
        return super().adjoint(y).roll(1, -1)


class ShiftedAnalysis(TV):
    analysis = ShiftedDifferences()


class LowAnalysisNorm(TV):
    @property
    def analysis_norm_squared(self):
        return 4.0


class WrongBall(TV):
    def project(self, u, weight):
        return super().project(u, 2 * weight)


class CropsOddSides(NonexpansiveResNet):
    def forward(self, v, sigma):
        out = super().forward(v, sigma)
        return out[..., : max(1, out.shape[-2] // 2 * 2), :]


class BreaksWithoutNoise(NonexpansiveResNet):
    def forward(self, v, sigma):
        return super().forward(v, sigma) / (sigma / sigma if sigma else float("nan"))


class NotNonexpansive(NonexpansiveResNet):
    def forward(self, v, sigma):
        return 1.5 * v


class L2WithoutHalf(L2):
    def value(self, v, y):
        return 2 * super().value(v, y)


class L2ProxOfTwice(L2):
    def prox(self, v, y, gamma):
        return super().prox(v, y, 2 * gamma)


class L2ConjugateSign(L2):
    def prox_conj(self, u, y, sigma):
        return (u + sigma * y) / (1 + sigma)


class PoissonWithoutBackground(PoissonFidelity):
    def grad(self, v, y):
        return 1 - y / v


class L2ForgetsAdjoint(L2):
    def grad_through(self, data, x):
        return data.operator.normal(x) - 1.001 * data.At_y


# ---- algorithms ----------------------------------------------------------------------------------


class PGDWithBareLambda(PGD):
    def step(self, state, problem):
        x = state.x - self.stepsize * problem.f.grad(state.x)
        return ImageState(problem.g.prox(x, self.lambda_reg))


class PGDInPlace(PGD):
    def step(self, state, problem):
        state.x.sub_(self.stepsize * problem.f.grad(state.x))
        return ImageState(problem.g.prox(state.x, self.stepsize * self.lambda_reg))


class PGDWithMemory(PGD):
    def step(self, state, problem):
        calls = getattr(self, "calls", 0)
        object.__setattr__(self, "calls", calls + 1)
        return super().step(ImageState(state.x + 1e-9 * calls), problem)


class PGDOfTheBatchMean(PGD):
    def step(self, state, problem):
        x = super().step(state, problem).x
        return ImageState(x + 1e-6 * (x.mean(0, keepdim=True) - x))


class ADMMWithoutDual(ADMM):
    def step(self, state, problem):
        new = super().step(state, problem)
        return ADMMState(new.x, new.z, state.u)


class ADMMReadsDual(ADMM):
    def image(self, state):
        return state.u


class DRSWithoutReflection(DRS):
    def step(self, state, problem):
        x = problem.f.prox(state.z, self.stepsize)
        v = problem.g.prox(x, self.stepsize * self.lambda_reg)
        return type(state)(state.z + self.beta * (v - x), v)


class PDHGExtrapolatesBack(PDHG):
    def step(self, state, problem):
        new = super().step(state, problem)
        return new._replace(x_bar=new.x - 2 * (new.x - state.x))


class GDWithoutLambda(GD):
    def step(self, state, problem):
        x = state.x
        tau = self.stepsize
        return type(state)(x - tau * (problem.f.grad(x) + problem.g.grad(x)))


def algorithm(kind: type[Any], **fields: float) -> Report:
    """The properties of an algorithm that deblurs two images."""
    A = blur(5, batch=2)
    settings = {"stepsize": 0.9, "lambda_reg": 0.3} | fields
    problem = make_problem(L2(), A, measured(A, batch=2), Tikhonov())
    return check_algorithm(kind(**settings), problem, max_iterations=300)


# ---- unfolding and equilibria --------------------------------------------------------------------


class OneStepLess(Unfolded):
    def run(self, steps):
        return Unfolded(self.iterations - 1).run(steps)


class CutsTheGraph(UnfoldedBackward):
    def step(self, step, state, remaining):
        with torch.set_grad_enabled(remaining < 2 and torch.is_grad_enabled()):
            return step(state)


class WrongSign(EquilibriumBackward):
    """Solves w = v − Jᵀw."""

    def attach(self, T, state, report):
        def solve(transposed, v):
            return Neumann(300)._sum(lambda w: -transposed(w), v)

        return implicit(T, state, solve, report)


@dataclass(frozen=True)
class AlwaysConverged(DEQ):
    def run(self, steps: Steps):
        solution = super().run(steps)
        return solution._replace(converged=torch.ones_like(solution.converged))


class QuietImplicit(Implicit):
    """Five products, and no word of it."""

    def attach(self, T, state, report):
        return Neumann(2).attach(T, state, report)


def unfolded(model: Any) -> Report:
    """The properties of three unfolded steps."""
    A = blur(5, batch=2)
    net = reconstructor(PGD(stepsize=0.9), model, network_prior())
    return check_unfolded(net, measured(A, batch=2), A)


def equilibrium(model: Any, radius: float = 0.9) -> Report:
    """The properties of an equilibrium that contracts by about `radius`."""
    # Weights of many sizes: a spectrum that no solver exhausts in a few products.
    A = Mask(torch.linspace(0, 1, 16, dtype=torch.float64).reshape(1, 1, 4, 4))
    net = reconstructor(PGD(stepsize=0.9, lambda_reg=(1 / radius - 1) / 0.9), model)
    return check_equilibrium(net, measured(A), A)


def always(backward: Any) -> Any:
    """A DEQ whose backward is this one, even where the kit asks for a tight one."""

    @dataclass(frozen=True)
    class Stubborn(DEQ):
        def run(self, steps):
            return DEQ(tol=1e-13, max_iterations=2000, backward=backward).run(steps)

    return Stubborn()


FAULTS: dict[str, Callable[[], Report]] = {
    **{
        kind.__name__: (lambda kind=kind: broken(kind))
        for kind in (
            FlippedKernel,
            MissingScale,
            ShiftedByAPixel,
            OneWrongRow,
            HiddenSinglePrecision,
            Affine,
            SquaredGamma,
            NormTooSmall,
            NormTooLarge,
            BatchLeak,
            InPlace,
            DetachedSolve,
            AdjointForInverse,
            WrongNormal,
            DropsDtype,
        )
    },
    "loud noise": lambda: check_physics(LoudLaw(), SMALL),
    "never quiet": lambda: check_physics(NeverQuiet(), SMALL),
    "global draws": lambda: check_physics(GlobalDraws(NoNoise()), SMALL),
    "draws by position": lambda: check_physics(DrawsByPosition(NoNoise()), SMALL),
    **{
        kind.__name__: (lambda kind=kind: check_prior(kind()))
        for kind in (
            SquaredWeight,
            ForgottenHalf,
            LeakyProx,
            SingleProx,
            ExpansiveProx,
            ScaledGradient,
            DetachedGradient,
        )
    },
    "BoxNearly": lambda: check_prior(BoxNearly(0.0, 0.6)),
    **{
        kind.__name__: (
            lambda kind=kind: check_prior(kind(tol=1e-7, max_iterations=2000), gap=1e-7)
        )
        for kind in (ShiftedAnalysis, LowAnalysisNorm, WrongBall)
    },
    **{
        kind.__name__: (lambda kind=kind: check_prior(PnP(kind(1, 2, 4).double())))
        for kind in (CropsOddSides, BreaksWithoutNoise, NotNonexpansive)
    },
    **{
        kind.__name__: (lambda kind=kind: check_fidelity(kind()))
        for kind in (L2WithoutHalf, L2ProxOfTwice, L2ConjugateSign, L2ForgetsAdjoint)
    },
    "PoissonWithoutBackground": lambda: check_fidelity(PoissonWithoutBackground(0.5)),
    **{
        kind.__name__: (lambda kind=kind: algorithm(kind))
        for kind in (
            PGDWithBareLambda,
            PGDInPlace,
            PGDWithMemory,
            PGDOfTheBatchMean,
            ADMMWithoutDual,
            ADMMReadsDual,
            DRSWithoutReflection,
            PDHGExtrapolatesBack,
            GDWithoutLambda,
        )
    },
    "one step less": lambda: unfolded(OneStepLess(3)),
    "cut graph": lambda: unfolded(Unfolded(3, CutsTheGraph())),
    "wrong sign": lambda: equilibrium(always(WrongSign())),
    "Jacobian-free as exact": lambda: equilibrium(always(JacobianFree())),
    "few products as exact": lambda: equilibrium(always(Neumann(20))),
    "always converged": lambda: equilibrium(AlwaysConverged(max_iterations=3), 0.99),
    "quiet backward": lambda: equilibrium(DEQ(backward=QuietImplicit()), 0.97),
}
"""What is wrong, by name, and the properties that must detect it."""

SOUND: dict[str, Callable[[], Report]] = {
    "mask": lambda: broken(Mask),
    "convolution": lambda: broken(CircularConvolution),
    "denoising": lambda: check_physics(Denoising(), SMALL),
    "inpainting": lambda: check_physics(Inpainting(NoNoise()), SMALL),
    "l1": lambda: check_prior(L1()),
    "tikhonov": lambda: check_prior(Tikhonov()),
    "box": lambda: check_prior(Box(0.0, 0.6)),
    "tv": lambda: check_prior(TV(tol=1e-7, max_iterations=2000), gap=1e-7),
    "network": lambda: check_prior(PnP(NonexpansiveResNet(1, 2, 4).double())),
    "l2": lambda: check_fidelity(L2()),
    "poisson": lambda: check_fidelity(PoissonFidelity(0.5)),
    **{kind.__name__: (lambda kind=kind: algorithm(kind)) for kind in (PGD, ADMM, DRS, PDHG, GD)},
    "unfolded": lambda: unfolded(Unfolded(3, Full())),
    "equilibrium": lambda: equilibrium(DEQ()),
    "slow equilibrium": lambda: equilibrium(DEQ(), 0.97),
}
"""The same without a fault."""


def _operator(seed: int) -> Report:
    g = torch.Generator().manual_seed(seed)
    h = torch.rand(2, 1, 3, 3, generator=g, dtype=torch.float64)
    h = 0.5 * h / h.sum((-2, -1), keepdim=True)
    h[..., 1, 1] += 1
    return report("convolution", check_operator(CircularConvolution(h, (1, 4, 3))))


def _mask(seed: int) -> Report:
    m = torch.rand(2, 1, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return report("mask", check_operator(Mask(torch.where(m < 0.3, 0, m))))


def _network(seed: int) -> Report:
    torch.manual_seed(seed)
    return check_prior(PnP(NonexpansiveResNet(1, 2, 4).double()), seed=1000 * seed)


def _equilibrium(seed: int) -> Report:
    m = torch.rand(1, 1, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    net = reconstructor(PGD(stepsize=0.9, lambda_reg=0.2), DEQ())
    return check_equilibrium(net, measured(Mask(m), seed=seed), Mask(m))


SEEDED: dict[str, Callable[[int], Report]] = {
    "convolution": _operator,
    "mask": _mask,
    "l1": lambda seed: check_prior(L1(), seed=1000 * seed),
    "box": lambda seed: check_prior(Box(0.0, 0.6), seed=1000 * seed),
    "tikhonov": lambda seed: check_prior(Tikhonov(), seed=1000 * seed),
    "network": _network,
    "l2": lambda seed: check_fidelity(L2(), seed=1000 * seed),
    "poisson": lambda seed: check_fidelity(PoissonFidelity(0.5), seed=1000 * seed),
    "equilibrium": _equilibrium,
}
"""Sound components whose tensors and probes follow a seed."""

SLOW = frozenset({"network", "equilibrium", "convolution"})
"""Those that take a good part of a second each."""
