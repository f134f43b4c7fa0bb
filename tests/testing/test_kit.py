"""The kit finds every seeded fault, accuses nothing sound, and says what it found."""

import pytest

from tests.testing.faults import FAULTS, SOUND
from unfold.testing.report import Check, LawError, Report, holds


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
    with pytest.raises(LawError, match=r"it breaks 1 laws:\n  AL1 one: 2.00e\+00 > 1e\+00"):
        found.raise_if_failed()
    Report("it", checks[:1]).raise_if_failed()


def test_nothing_measured_and_not_a_number_are_failures():
    with pytest.raises(LawError, match="no law could be measured"):
        Report("it", ()).raise_if_failed()
    assert not Check("AL1", "nan", float("nan"), 1.0).passed
