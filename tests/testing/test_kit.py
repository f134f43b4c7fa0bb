"""The kit finds every seeded fault, accuses nothing sound, and says what it found."""

import functools
import re
import warnings

import pytest
import torch

from tests.testing.every import FAULTS, SOUND
from unfold.physics.blur.saturation import Saturated
from unfold.physics.inpainting import Inpainting, Mask
from unfold.physics.noise.base import Gaussian
from unfold.physics.operator import LinearOperator
from unfold.testing import operators, solves
from unfold.testing.physics import check_operator, check_physics
from unfold.testing.report import Check, NotJudged, PropertyError, Report, holds, report


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name: str):
    assert FAULTS[name]().failed, f"{name} passes"


@pytest.mark.parametrize("name", SOUND)
def test_what_is_sound_passes(name: str):
    SOUND[name]().raise_if_failed()


def test_there_are_enough_faults():
    assert len(FAULTS) >= 40


def test_a_report_names_every_broken_law():
    checks = (Check("AL1", "one", 0.5, 1.0), Check("AL1", "one", 2.0, 1.0), holds("AL2", "b", True))
    found = Report("it", checks)
    assert not found.passed and found.worst() == (checks[1], checks[2])
    with pytest.raises(
        PropertyError,
        match=r"it violates a property:\n  AL1 one: 2.00e\+00 > 1e\+00, in 1 of 2 measurements$",
    ):
        found.raise_if_failed()
    Report("it", checks[:1]).raise_if_failed()


def test_nothing_measured_and_not_a_number_are_failures():
    with pytest.raises(PropertyError, match="no property could be measured"):
        Report("it", ()).raise_if_failed()
    assert not Check("AL1", "nan", float("nan"), 1.0).passed


def test_rows_that_do_not_apply_are_no_failure():
    """Only where all else holds, and nothing that was asked for was tried in vain."""
    held, broken = holds("PH15", "legal", True), holds("PH15", "legal", False)
    linear = NotJudged("PH1", "A*", "it says that it is not linear")
    diverged = NotJudged("PH7", "A⁺", "it did not converge", tried=True)
    nothing = Report("it", (held,), (linear, diverged)).only(["PH1", "PH13"])
    assert not nothing.applies and nothing.left_out() == (linear,)
    nothing.raise_if_failed()
    assert Report("it", (held,)).only(["PH15"]).applies
    curved = Saturated(Mask(torch.ones(1, 1, 2, 2, dtype=torch.float64)), 1.5, 5.0)
    found = report("curved", check_operator(curved)).only(["PH1", "PH3"])
    assert not found.applies and [one.id for one in found.left_out()] == ["PH1", "PH3"]
    for failed in (
        Report("it", (held,), (linear, diverged)).only(["PH7"]),
        Report("it", (), (linear,)).only(["PH1"]),
    ):
        with pytest.raises(PropertyError, match=r"it: no property could be measured\.$"):
            failed.raise_if_failed()
    words = r"it: no property could be measured\. PH15 legal: 1\.00e\+00 > 0e\+00\."
    with pytest.raises(PropertyError, match=words):
        Report("it", (held, broken)).only(["PH13"]).raise_if_failed()


class Iterated(Mask):
    pseudo_inverse = LinearOperator.pseudo_inverse


@pytest.mark.parametrize(("decades", "judged"), [(1, True), (9, False)])
def test_a_pseudo_inverse_that_did_not_converge_is_not_judged_and_said_so(decades: int, judged):
    values = torch.logspace(0, -decades, 64, dtype=torch.float64).reshape(1, 1, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = report("mask", check_operator(Iterated(values)))
    found.raise_if_failed()
    names = {one.name for one in found.checks}
    assert ("A⁺ = dense pinv" in names) == judged
    told = [str(one) for one in found.left_out()]
    assert len(told) == (0 if judged else 3)
    assert all("not judged, it did not converge: least_norm: " in one for one in told)
    words = r"of [12] samples are above the relative residual 1\.0e-12"
    assert all(re.search(words, one) for one in told)


class Leaking(Mask):
    def pseudo_inverse(self, y: torch.Tensor) -> torch.Tensor:
        return super().pseudo_inverse(y) + 1e-11 * y.mean(0, keepdim=True)


def test_a_pseudo_inverse_that_sees_its_batch_mates_is_found():
    values = torch.linspace(1, 2, 12, dtype=torch.float64).reshape(1, 1, 3, 4)
    found = report("mask", solves.inverse_invariance(Leaking(values)))
    assert len(found.failed) == 2
    report("mask", solves.inverse_invariance(Mask(values))).raise_if_failed()


def test_the_first_reason_of_each_property_is_reported():
    unjudged = (NotJudged("PH7", "a", "x"), NotJudged("PH9", "b", "y"), NotJudged("PH7", "a", "z"))
    assert Report("it", (), unjudged).left_out() == unjudged[:2]


class Turning(Mask):
    """Ax = cos(200 m) · x: a parameter in which A turns fast, as in the place of a sample."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (200 * self.mask).cos() * x


class Standing(Turning):
    """The same, half of whose derivative is lost."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (100 * self.mask + 100 * self.mask.detach()).cos() * x


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_derivative_in_a_parameter_is_judged_where_the_operator_turns_fast(dtype: torch.dtype):
    places = torch.linspace(0.1, 0.9, 64, dtype=dtype).reshape(1, 1, 8, 8)
    (sound,) = operators.parameters(Turning(places), dtype=dtype)
    assert sound.passed and sound.value < (1e-8 if dtype == torch.float64 else 1e-4)
    (broken,) = operators.parameters(Standing(places), dtype=dtype)
    assert not broken.passed and broken.value > 0.1


class Counted(Mask):
    def pseudo_inverse(self, y: torch.Tensor) -> torch.Tensor:
        solved.append(len(y) * int(y.any()))
        return super().pseudo_inverse(y)


solved: list[int] = []


def test_large_pseudo_inverses_are_solved_for_no_row_twice():
    """Once for each sample, and once for all: by iterations they take the most of the time."""
    solved.clear()
    values = torch.linspace(0.5, 1.0, 3 * 1024, dtype=torch.float64).reshape(3, 1, 32, 32)
    report("mask", check_operator(Counted(values))).raise_if_failed()
    assert sum(solved) == 3 + 3


def test_properties_without_a_row_that_is_asked_for_are_not_measured():
    solved.clear()
    values = torch.linspace(0.5, 1.0, 64, dtype=torch.float64).reshape(1, 1, 8, 8)
    (found,) = report("mask", check_operator(Counted(values), only=("PH1",))).checks
    assert found.id == "PH1" and not solved


@pytest.mark.parametrize("row", [*(f"PH{i}" for i in range(1, 16))])
def test_a_row_asked_for_alone_is_the_same_as_among_all(row: str):
    physics, shapes = Inpainting(Gaussian(0.1), 0.5), ((1, 5, 4), (1, 18, 18))
    single, every = check_physics(physics, shapes, (row,)), every_row()
    assert single.checks == tuple(one for one in every.checks if one.id == row)
    assert single.unjudged == tuple(one for one in every.unjudged if one.id == row)


@functools.cache
def every_row() -> Report:
    return check_physics(Inpainting(Gaussian(0.1), 0.5), ((1, 5, 4), (1, 18, 18)))


@pytest.mark.parametrize("tol", [0.0, 1e-6])
@pytest.mark.parametrize("at", range(3))
def test_a_measurement_that_is_not_a_number_is_the_worst_wherever_it_stands(tol, at):
    values = [0.0, 0.0, 0.0]
    values[at] = float("nan")
    found = report("Rows", (Check("PH1", "A* = Aᴴ", value, tol) for value in values))
    with pytest.raises(PropertyError, match=r"Rows violates a property:\n.*in 1 of 3"):
        found.raise_if_failed()


def test_a_sample_of_another_precision_is_named_with_what_to_write():
    class Rows(Inpainting):
        def sample(self, draws, shape):
            return Mask((draws.uniform("rows", shape) < 0.5).float())

    with pytest.raises(PropertyError, match=r"in a sample of yours tensor\.to\(draws\.dtype\)"):
        check_physics(Rows(Gaussian(0.1), keep=0.5), [(1, 8, 8)]).raise_if_failed()
