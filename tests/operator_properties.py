"""The properties of a linear operator as assertions, which raise with the excessive figure."""

from collections.abc import Callable, Iterable

from unfold.physics.operator import Operator
from unfold.testing import derivatives, solves
from unfold.testing import operators as kit
from unfold.testing.dense import DOUBLE, dense, dense_adjoint, dense_solve, gap, probe
from unfold.testing.report import Check

__all__ = ["DOUBLE", "check", "dense", "dense_adjoint", "dense_solve", "gap", "probe"]


def check(name: str, operator: Operator, error: float, tol: float) -> None:
    """Raise when `error` is above `tol`, or is not a number."""
    if not error <= tol:
        raise AssertionError(f"{type(operator).__name__} violates {name}: {error:.2e} > {tol:.0e}")


def _asserting(measure: Callable[..., Iterable[Check]]) -> Callable[..., None]:
    def assert_properties_of(operator: Operator, **options: object) -> None:
        for check in measure(operator, **options):
            assert check.passed, f"{type(operator).__name__} violates {check}"

    return assert_properties_of


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
    """Every property of a map that is not linear."""
    for found in derivatives.check_nonlinear(operator, **options):
        if isinstance(found, Check):
            assert found.passed, f"{type(operator).__name__} violates {found}"


def assert_batch_invariant(operator: Operator, **options: object) -> None:
    """No answer of a sample depends on its batch mates, the pseudo-inverse included."""
    for assert_one in (_asserting(kit.batch_invariance), assert_inverse_invariant):
        assert_one(operator, **options)


def assert_matrix_properties(operator: Operator, **options: object) -> None:
    """Every property but those of the pseudo-inverse, slow where it has no closed form."""
    for assert_one in (
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
        assert_one(operator, **options)
    assert_solves(operator, gamma=3.0, **options)
    assert_solve_gradients(operator, gamma=1.7, **options)


def assert_properties(operator: Operator, **options: object) -> None:
    """Every property."""
    assert_matrix_properties(operator, **options)
    for assert_one in (assert_penrose, assert_pseudo_inverse, assert_batch_invariant):
        assert_one(operator, **options)
