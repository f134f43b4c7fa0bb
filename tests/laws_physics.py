"""The laws of a linear operator as assertions: they raise with the figure that is too large."""

from collections.abc import Callable, Iterable

from unfold.physics.operator import Operator
from unfold.testing import derivatives, solves
from unfold.testing import operators as kit
from unfold.testing.dense import DOUBLE, dense, dense_adjoint, dense_solve, gap, probe
from unfold.testing.report import Check

__all__ = ["DOUBLE", "check", "dense", "dense_adjoint", "dense_solve", "gap", "probe"]


def check(law: str, operator: Operator, error: float, tol: float) -> None:
    """Raise when `error` is above `tol`, or is not a number."""
    if not error <= tol:
        raise AssertionError(f"{type(operator).__name__} breaks {law}: {error:.2e} > {tol:.0e}")


def _asserting(law: Callable[..., Iterable[Check]]) -> Callable[..., None]:
    def assert_law(operator: Operator, **options: object) -> None:
        for check in law(operator, **options):
            assert check.passed, f"{type(operator).__name__} breaks {check}"

    return assert_law


assert_adjoint = _asserting(kit.adjoint)
assert_dense_adjoint = _asserting(kit.adjoint_entrywise)
assert_linear = _asserting(kit.linear)
assert_autograd_adjoint = _asserting(kit.autograd)
assert_normal = _asserting(kit.normal)
assert_norm = _asserting(kit.norm)
assert_parameters = _asserting(kit.parameters)
assert_pseudo_inverse = _asserting(solves.pseudo_inverse)
assert_penrose = _asserting(solves.penrose)
assert_solves = _asserting(solves.solve)
assert_solve_gradients = _asserting(solves.solve_gradients)
assert_scales_gamma = _asserting(solves.solve_weights)
assert_inverse_invariant = _asserting(solves.inverse_invariance)
assert_keeps_kind = _asserting(kit.kind)
assert_copies = _asserting(kit.copies)


def assert_nonlinear(operator: Operator, **options: object) -> None:
    """Every law of a map that is not linear."""
    for found in derivatives.check_nonlinear(operator, **options):
        if isinstance(found, Check):
            assert found.passed, f"{type(operator).__name__} breaks {found}"


def assert_batch_invariant(operator: Operator, **options: object) -> None:
    """No answer of a sample depends on its batch mates, the pseudo-inverse included."""
    for law in (_asserting(kit.batch_invariance), assert_inverse_invariant):
        law(operator, **options)


def assert_matrix_laws(operator: Operator, **options: object) -> None:
    """Every law but those of the pseudo-inverse, which takes long where it has no closed form."""
    for law in (
        assert_adjoint,
        assert_dense_adjoint,
        assert_autograd_adjoint,
        assert_linear,
        assert_norm,
        assert_parameters,
        assert_normal,
        assert_scales_gamma,
        assert_keeps_kind,
        assert_copies,
    ):
        law(operator, **options)
    assert_solves(operator, gamma=3.0, **options)
    assert_solve_gradients(operator, gamma=1.7, **options)


def assert_every_law(operator: Operator, **options: object) -> None:
    """Every law."""
    assert_matrix_laws(operator, **options)
    for law in (assert_penrose, assert_pseudo_inverse, assert_batch_invariant):
        law(operator, **options)
