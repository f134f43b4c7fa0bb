"""How a gradient reaches the parameters through an equilibrium."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from unfold.errors import ConvergenceError
from unfold.parameters.bounds import Declared, at_least, bounded, inside, nonnegative, tolerance
from unfold.pytree import map_tensors
from unfold.solvers.fixed_point import AffineSolver, FixedPoint
from unfold.solvers.gmres import GMRES
from unfold.solvers.implicit import BackwardReport, implicit
from unfold.solvers.result import ConvergenceWarning, Stopping

Map = Callable[[Any], Any]

SENSITIVITY = 10.0
"""The relative error of a gradient is at least so many times that of the equilibrium: the residual
of a loss is that much smaller than the image."""


@dataclass(frozen=True)
class EquilibriumBackward(Declared, ABC):
    """How a gradient reaches the parameters through the fixed point."""

    @property
    def refuses(self) -> bool:
        """Whether it raises an error where it is not as exact as it should be."""
        return False

    @abstractmethod
    def attach(self, T: Map, state: Any, report: BackwardReport) -> Any:
        """T(state) with a gradient."""


@dataclass(frozen=True)
class Implicit(EquilibriumBackward):
    """The exact gradient: w = v + Jᵀw is solved to the tolerance.

    Args:
        tol: relative residual of the solve, per image.
        accuracy: estimated relative error of w, per image; near a contraction of 1 the error is
            many times the residual. `Solution.backward.error` adds the share of the equilibrium:
            its own error times the amplification κ of the solve, because I − Jᵀ amplifies the
            error of the cotangent as it does a residual. Above twice `accuracy` it is reported.
        max_iterations: vector–Jacobian products at most.
        solver: gmres, anderson, broyden or picard.
        on_divergence: what to do when an image does not get there: `warn` and take the best w,
            `error`, or `phantom`: warn, and take for that image the gradient of damped steps.
            A gradient that is too inexact because its equilibrium is, is reported likewise.

    Source: Bai, Kolter and Koltun, Deep equilibrium models, NeurIPS 2019, theorem 1.
    """

    tol: float = bounded(1e-3, tolerance)
    accuracy: float = bounded(4e-3, tolerance)
    max_iterations: int = bounded(50, at_least(1))
    solver: AffineSolver = field(default_factory=GMRES)
    on_divergence: Literal["warn", "error", "phantom"] = "warn"

    @property
    def refuses(self) -> bool:
        return self.on_divergence == "error"

    def attach(self, T: Map, state: Any, report: BackwardReport) -> Any:
        return implicit(T, state, partial(self._solve, report.forward), report)

    def _solve(
        self, forward: Tensor | None, transposed: Callable[[Tensor], Tensor], v: Tensor
    ) -> FixedPoint:
        stopping = Stopping(self.tol, self.max_iterations, self.accuracy, every=3)
        end = self.solver.solve(transposed, v, stopping)
        if forward is not None:
            kappa = end.error / end.residual.clamp(min=torch.finfo(v.dtype).tiny)
            end = end._replace(error=end.error + forward * kappa.clamp(min=SENSITIVITY))
        if not bool(end.converged.all()):
            end = self._missed(end, transposed, v)
        elif (worst := float(end.error.max())) > 2 * self.accuracy:
            self._report(
                "The gradient of the equilibrium that was differentiated has an estimated error "
                f"of {worst:.1e}, where {2 * self.accuracy:.1e} is expected. Lower DEQ.tol and "
                "DEQ.accuracy, or use a more contractive prior."
            )
        return end

    def _missed(
        self, end: FixedPoint, transposed: Callable[[Tensor], Tensor], v: Tensor
    ) -> FixedPoint:
        self._report(
            f"The gradient of the equilibrium was not reached for {int((~end.converged).sum())} of "
            f"{len(end.converged)} images: residual {float(end.residual.max()):.1e} after "
            f"{int(end.iterations.max())} products, {self.tol:.1e} expected; estimated error "
            f"{float(end.error.max()):.1e}, {self.accuracy:.1e} expected. Raise "
            "Implicit.max_iterations, or use a more contractive prior."
        )
        if self.on_divergence != "phantom":
            return end
        instead = Phantom().series(transposed, v).image
        return end._replace(image=torch.where(end.converged[:, None], end.image, instead))

    def _report(self, message: str) -> None:
        if self.on_divergence == "error":
            raise ConvergenceError(message)
        warnings.warn(message, ConvergenceWarning, stacklevel=2)


@dataclass(frozen=True)
class JacobianFree(EquilibriumBackward):
    """The gradient of the last step only, (∂T/∂θ)ᵀv: cheap, and an approximation.

    Source: Fung et al., JFB: Jacobian-free backpropagation for implicit networks, AAAI 2022.
    """

    def attach(self, T: Map, state: Any, report: BackwardReport) -> Any:
        return T(map_tensors(torch.Tensor.detach, state))


@dataclass(frozen=True)
class Phantom(EquilibriumBackward):
    """The gradient of k damped steps unrolled from the fixed point: an approximation.

    Args:
        steps: k, at least 1.
        damping: of each step, in (0, 1].

    Source: Geng et al., On training implicit models, NeurIPS 2021, equation (8).
    """

    steps: int = bounded(5, at_least(1))
    damping: float = bounded(0.5, inside("(0, 1]"))

    def attach(self, T: Map, state: Any, report: BackwardReport) -> Any:
        report.aims_at_tolerance = False
        return implicit(T, state, self.series, report)

    def series(self, transposed: Callable[[Tensor], Tensor], v: Tensor) -> FixedPoint:
        """w = β Σ_{i < k} ((1 − β)I + βJᵀ)^i v, from w ↦ v + Jᵀw: what the steps come to."""
        w = before = torch.zeros_like(v)
        for _ in range(self.steps):
            before, w = w, torch.lerp(w, transposed(w), self.damping)
        return _truncated(before, w, self.steps)


@dataclass(frozen=True)
class Neumann(EquilibriumBackward):
    """The first terms of the Neumann series, w = Σ_{i ≤ k} (Jᵀ)^i v: an approximation.

    Args:
        terms: k, the vector–Jacobian products spent; 0 is the Jacobian-free gradient.
    """

    terms: int = bounded(5, nonnegative)

    def attach(self, T: Map, state: Any, report: BackwardReport) -> Any:
        report.aims_at_tolerance = False
        return implicit(T, state, self._sum, report)

    def _sum(self, transposed: Callable[[Tensor], Tensor], v: Tensor) -> FixedPoint:
        w, before = v, v
        for _ in range(self.terms):
            before, w = w, transposed(w)
        return _truncated(before, w, self.terms)


def _truncated(before: Tensor, w: Tensor, count: int) -> FixedPoint:
    """The end of a series that aims at no tolerance, after so many products."""
    residual = (w - before).norm(dim=1) / w.norm(dim=1).clamp(min=torch.finfo(w.dtype).tiny)
    counts = torch.full((len(w),), count, device=w.device)
    no = torch.zeros(len(w), dtype=torch.bool, device=w.device)
    unknown = torch.full_like(residual, torch.inf)
    return FixedPoint(before, w, residual, unknown, counts, no, no)
