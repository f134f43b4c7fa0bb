"""Deep equilibrium: the fixed point of the step, over its whole state."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from unfold.errors import ConfigError, ConvergenceError
from unfold.models.model import Model, Solution, Steps
from unfold.solvers.anderson import Anderson
from unfold.solvers.conjugate_gradient import ConvergenceWarning
from unfold.solvers.fixed_point import FixedPoint, Flat, Solver, pack, unpack
from unfold.solvers.implicit import BackwardReport, implicit
from unfold.tree import map_tensors, tensors, with_tensors

Map = Callable[[Any], Any]


class EquilibriumBackward(ABC):
    """How a gradient reaches the parameters through the fixed point."""

    @abstractmethod
    def attach(self, T: Map, state: Any, report: BackwardReport) -> Any:
        """T(state) with a gradient."""


@dataclass(frozen=True)
class Implicit(EquilibriumBackward):
    """The exact gradient: w = v + Jᵀw is solved to the tolerance.

    Args:
        tol: relative residual of the solve, per image.
        max_iterations: vector–Jacobian products at most.
        solver: picard or anderson.
        on_failure: what to do when an image does not reach `tol`: `warn`, or `error`.

    Source: Bai, Kolter and Koltun, Deep equilibrium models, NeurIPS 2019, theorem 1.
    """

    tol: float = 1e-3
    max_iterations: int = 50
    solver: Solver = field(default_factory=Anderson)
    on_failure: Literal["warn", "error"] = "warn"

    def __post_init__(self) -> None:
        _check_limits("Implicit", self.tol, self.max_iterations)

    def attach(self, T: Map, state: Any, report: BackwardReport) -> Any:
        return implicit(T, state, self._solve, report)

    def _solve(self, transposed: Callable[[Tensor], Tensor], v: Tensor) -> FixedPoint:
        end = self.solver.solve(
            transposed, v, tol=self.tol, max_iterations=self.max_iterations, every=3
        )
        if not bool(end.converged.all()):
            self._report(end)
        return end

    def _report(self, end: FixedPoint) -> None:
        message = (
            f"The gradient of the equilibrium was not reached for {int((~end.converged).sum())} of "
            f"{len(end.converged)} images: residual {float(end.residual.max()):.1e} after "
            f"{int(end.iterations.max())} products, {self.tol:.1e} expected. Raise "
            "model.backward.max_iterations, or use a more contractive prior."
        )
        if self.on_failure == "error":
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

    steps: int = 5
    damping: float = 0.5

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"Phantom.steps = {self.steps}: must be at least 1.")
        if not 0 < self.damping <= 1:
            raise ConfigError(f"Phantom.damping = {self.damping}: must be in (0, 1].")

    def attach(self, T: Map, state: Any, report: BackwardReport) -> Any:
        values: list[Tensor] = []
        state = map_tensors(torch.Tensor.detach, state)
        for _ in range(self.steps):
            new = tensors(T(state))
            values = values or [t.detach() for t in new]
            pairs = zip(tensors(state), new, strict=True)
            state = with_tensors(state, [torch.lerp(a, b, self.damping) for a, b in pairs])
        # The value stays T(s*), as in evaluation: only the gradient is that of the damped steps.
        pairs = zip(values, tensors(state), strict=True)
        return with_tensors(state, [a + (b - b.detach()) for a, b in pairs])


@dataclass(frozen=True)
class Neumann(EquilibriumBackward):
    """The first terms of the Neumann series, w = Σ_{i ≤ k} (Jᵀ)^i v: an approximation.

    Args:
        terms: k, the vector–Jacobian products spent; 0 is the Jacobian-free gradient.
    """

    terms: int = 5

    def __post_init__(self) -> None:
        if self.terms < 0:
            raise ConfigError(f"Neumann.terms = {self.terms}: must be zero or positive.")

    def attach(self, T: Map, state: Any, report: BackwardReport) -> Any:
        return implicit(T, state, self._sum, report)

    def _sum(self, transposed: Callable[[Tensor], Tensor], v: Tensor) -> FixedPoint:
        w, before = v, v
        for _ in range(self.terms):
            before, w = w, transposed(w)
        residual = (w - before).norm(dim=1) / w.norm(dim=1).clamp(min=torch.finfo(w.dtype).tiny)
        count = torch.full((len(v),), self.terms, device=v.device)
        no = torch.zeros(len(v), dtype=torch.bool, device=v.device)
        return FixedPoint(before, w, residual, count, no, no)


def _check_limits(owner: str, tol: float, max_iterations: int) -> None:
    if not tol > 0:
        raise ConfigError(f"{owner}.tol = {tol}: must be positive.")
    if max_iterations < 1:
        raise ConfigError(f"{owner}.max_iterations = {max_iterations}: must be at least 1.")


@dataclass(frozen=True)
class DEQ(Model):
    """s* = step(s*), by fixed-point iteration of the whole state; dual variables too.

    What it returns is T(s*), in training and in evaluation alike. Memory does not grow with the
    iterations: one step is recorded.

    Args:
        tol: relative residual ‖T(s) − s‖ / ‖T(s)‖ of an image at which it stops.
        max_iterations: evaluations of the step at most.
        solver: picard or anderson.
        backward: implicit, jacobian_free, phantom or neumann.
    """

    needs_contraction: ClassVar[bool] = True

    tol: float = 1e-3
    max_iterations: int = 60
    solver: Solver = field(default_factory=Anderson)
    backward: EquilibriumBackward = field(default_factory=Implicit)

    def __post_init__(self) -> None:
        _check_limits("DEQ", self.tol, self.max_iterations)

    def run(self, steps: Steps, *, keep_iterates: bool = False) -> Solution:
        algorithm, problem = steps.at(0)
        images: list[Tensor] = []

        def T(state: Any) -> Any:
            new = algorithm.step(state, problem)
            if keep_iterates:
                images.append(algorithm.image(new).detach())
            return new

        with torch.no_grad():
            start = algorithm.init(problem)
            found, state, end = self._solve(T, start)
        report = BackwardReport()
        if torch.is_grad_enabled():
            state = self.backward.attach(partial(steps.step, 0), found, report)
        return Solution(
            image=algorithm.image(state),
            state=state,
            residual=end.residual,
            iterations=end.iterations,
            converged=end.converged,
            iterates=tuple(images),
            backward=report,
        )

    def _solve(self, T: Map, start: Any) -> tuple[Any, Any, FixedPoint]:
        """(s, T(s), how it ended) for the iterate s of smallest residual."""

        def flat(z: Flat) -> Flat:
            return pack(T(unpack(z, start)))

        end = self.solver.solve(
            flat, pack(start), tol=self.tol, max_iterations=self.max_iterations, every=3
        )
        return unpack(end.z, start), unpack(end.image, start), end
