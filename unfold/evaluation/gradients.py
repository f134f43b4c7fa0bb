"""Comparison of all gradient modes on the same weights and the same measurement."""

import copy
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from unfold.errors import ConfigError, IncompatibleError
from unfold.models.deq import DEQ
from unfold.models.equilibrium_gradient import (
    EquilibriumBackward,
    Implicit,
    JacobianFree,
    Neumann,
    Phantom,
)
from unfold.models.model import Model, Solution
from unfold.models.unfolded import Checkpoint, Full, Truncated, Unfolded, UnfoldedBackward
from unfold.physics.operator import Operator
from unfold.reconstructor import Reconstructor
from unfold.solvers.acceleration import Anderson, Broyden
from unfold.solvers.fixed_point import Picard
from unfold.solvers.gmres import GMRES
from unfold.solvers.result import ConvergenceWarning
from unfold.typing import Image, Measurement


class PeakMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside `with`, the peak number of bytes of the tensors created there.

    It intercepts every operation of this thread, forward and backward, which takes time: measure
    the duration without it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0
        self._now = 0
        self._held: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(item, Tensor):
                self._register(item)
        return result

    def _register(self, t: Tensor) -> None:
        storage = t.untyped_storage()
        reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        known = self._held.get(reference.cdata)
        if known is not None and not _freed(known[0]):
            return
        self._held[reference.cdata] = reference, storage.nbytes()
        self._now += storage.nbytes()
        if self._now > self.bytes:  # freed tensors matter only for a new peak
            self._held = {k: v for k, v in self._held.items() if not _freed(v[0])}
            self._now = sum(size for _, size in self._held.values())
            self.bytes = max(self.bytes, self._now)


def _freed(reference: StorageWeakRef) -> bool:
    return bool(reference.expired())  # type: ignore[no-untyped-call]


TIGHT = 1e-9


class Case(NamedTuple):
    """Images, their measurement y = Ax, and the loss of a reconstruction against them."""

    x: Image
    y: Measurement
    operator: Operator
    loss: Callable[[Tensor, Tensor], Tensor]

    def double(self) -> "Case":
        """The same in double precision."""
        y = self.y.to(torch.complex128 if self.y.is_complex() else torch.float64)
        return Case(self.x.double(), y, self.operator.to_like(y), self.loss)


class Row(NamedTuple):
    """The cost of one gradient mode, and the error of its gradient.

    model: unfolded or deq.
    mode: its name.
    seconds: of forward and backward pass.
    memory: the peak of the tensors created in them, in bytes.
    cosine: with the reference.
    error: relative to the reference, in the Euclidean norm over all learned parameters.
    reached: whether forward and backward solves reached their tolerance; None without one.
    """

    model: str
    mode: str
    seconds: float
    memory: int
    cosine: float
    error: float
    reached: bool | None


def compare_gradients(reconstructor: Reconstructor, case: Case, iterations: int) -> Iterator[Row]:
    """One row for each mode; the reference of each model is computed in double precision.

    Unfolded networks of as many `iterations` are compared with their exact gradient, equilibria
    with the implicit gradient, both solves at 1e-9. All use the network of the equilibrium.

    Raises:
        ConfigError: the model is no DEQ, or nothing is learned.
    """
    base = reconstructor.model
    if not isinstance(base, DEQ):
        raise IncompatibleError(
            f"model = {type(base).__name__}: an equilibrium is needed, use {{model}}.", model=DEQ
        )
    if not any(p.requires_grad for p in reconstructor.parameters()):
        raise ConfigError("Trainable.learn: nothing is learned, so there is no gradient.")
    backward = base.backward if isinstance(base.backward, Implicit) else Implicit()
    backward = replace(backward, on_divergence="warn")
    tight = replace(backward, tol=TIGHT, accuracy=1.0, max_iterations=300, solver=GMRES(60))
    exact = replace(
        base,
        tol=TIGHT,
        accuracy=1.0,
        max_iterations=600,
        solver=Anderson(memory=20),
        backward=tight,
    )
    recorded: dict[str, UnfoldedBackward]
    recorded = {"full": Full(), "checkpoint": Checkpoint(), "truncated": Truncated()}
    unfolded = {name: Unfolded(iterations, way) for name, way in recorded.items()}
    solvers = GMRES(), Anderson(), Broyden(), Picard()
    ways: dict[str, EquilibriumBackward]
    ways = {f"implicit {type(s).__name__.lower()}": replace(backward, solver=s) for s in solvers}
    ways |= {"jacobian_free": JacobianFree(), "phantom": Phantom(), "neumann": Neumann()}
    deq = {name: replace(base, backward=way) for name, way in ways.items()}
    double = copy.deepcopy(reconstructor).double()
    for name, reference, modes in (("unfolded", unfolded["full"], unfolded), ("deq", exact, deq)):
        want, _ = _gradient(double, reference, case.double())
        for mode, model in modes.items():
            yield _row(name, mode, reconstructor, model, case, want)


def _row(name: str, mode: str, net: Reconstructor, model: Model, case: Case, want: Tensor) -> Row:
    with PeakMemory() as peak:
        _gradient(net, model, case)
    start = time.perf_counter()
    got, solution = _gradient(net, model, case)
    seconds = time.perf_counter() - start
    got = got.double()
    cosine = torch.nn.functional.cosine_similarity(got, want, dim=0)
    error = (got - want).norm() / want.norm()
    return Row(name, mode, seconds, peak.bytes, float(cosine), float(error), _reached(solution))


def _gradient(net: Reconstructor, model: Model, case: Case) -> tuple[Tensor, Solution]:
    """The gradient of all learned parameters, as one vector, with that model."""
    before, net.model = net.model, model
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            solution = net.solve(case.y, case.operator)
            at = [p for p in net.parameters() if p.requires_grad]
            loss = case.loss(solution.image, case.x)
            found = torch.autograd.grad(loss, at, materialize_grads=True)
    finally:
        net.model = before
    return torch.cat([g.flatten() for g in found]), solution


def _reached(solution: Solution) -> bool | None:
    if solution.converged is None:
        return None
    reached = bool(solution.converged.all())
    report = solution.backward
    if report is not None and report.converged is not None and report.error is not None:
        bounded = bool(report.error.isfinite().all())  # truncated series have no tolerance
        reached = reached and (bool(report.converged.all()) or not bounded)
    return reached
