"""Results of property checks: one error with its tolerance, and all of them in a report."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import isnan
from typing import NamedTuple

from unfold.errors import UnfoldError

ENDED = "XX0"
"""The row of a property that raised an exception, which ends a report."""


class PropertyError(UnfoldError, AssertionError):
    """A component violates a property; lists the worst error of every violated one."""


class Check(NamedTuple):
    """One property, measured.

    id: its row in the kit, e.g. PH1.
    name: of the property, often a formula.
    value: the error that was measured.
    tol: the largest error allowed.
    """

    id: str
    name: str
    value: float
    tol: float

    @property
    def passed(self) -> bool:
        """Whether the property holds; never where the value is NaN."""
        return self.value <= self.tol

    def __str__(self) -> str:
        return (
            f"{self.id} {self.name}: {self.value:.2e} {'≤' if self.passed else '>'} {self.tol:.0e}"
        )


class NotJudged(NamedTuple):
    """A property that was not measured, and why; neither satisfied nor violated.

    reason: why not, in one sentence.
    tried: whether measuring failed; else the component declares that the property does not apply.
    """

    id: str
    name: str
    reason: str
    tried: bool = False

    def __str__(self) -> str:
        return f"{self.id} {self.name}: not judged, {self.reason}"


Finding = Check | NotJudged
"""The result of one property."""


def holds(id: str, name: str, truth: bool) -> Check:
    """An exact property: error 0 where it holds, 1 where not."""
    return Check(id, name, 0.0 if truth else 1.0, 0.0)


@dataclass(frozen=True)
class Report:
    """The properties of one component.

    Args:
        subject: what was checked.
        checks: all that was measured.
        unjudged: what could not be measured.
        others: what was measured of rows that were not asked for.
    """

    subject: str
    checks: tuple[Check, ...]
    unjudged: tuple[NotJudged, ...] = ()
    others: tuple[Check, ...] = ()

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)

    @property
    def passed(self) -> bool:
        """Whether every property holds, and there was one."""
        return bool(self.checks) and not self.failed

    @property
    def applies(self) -> bool:
        """Whether requested rows apply to the component, or might apply.

        They do not where none was measured or tried, and whatever else was measured holds.
        """
        kept = bool(self.others) and all(check.passed for check in self.others)
        return bool(self.checks) or any(one.tried for one in self.unjudged) or not kept

    def worst(self) -> tuple[Check, ...]:
        """The worst measurement of every property, in the order of the kit."""
        found: dict[tuple[str, str], Check] = {}
        for check in self.checks:
            key = (check.id, check.name)
            if key not in found or _share(check) > _share(found[key]):
                found[key] = check
        return tuple(sorted(found.values(), key=lambda c: (c.id[:2], int(c.id[2:]))))

    def only(self, ids: Collection[str]) -> "Report":
        """The rows with these ids, and an exception that ended the report; all rows for none."""
        if not ids:
            return self
        wanted = {*ids, ENDED}
        checks = tuple(one for one in self.checks if one.id in wanted)
        unjudged = tuple(one for one in self.unjudged if one.id in ids)
        others = tuple(one for one in self.checks if one.id not in wanted)
        return Report(self.subject, checks, unjudged, others)

    def left_out(self) -> tuple[NotJudged, ...]:
        """The first reason for every property that could not be measured somewhere."""
        first: dict[tuple[str, str], NotJudged] = {}
        for one in self.unjudged:
            first.setdefault((one.id, one.name), one)
        return tuple(first.values())

    def raise_if_failed(self) -> None:
        """Raise an error with every violated property.

        Raises:
            PropertyError: a property does not hold, or nothing that applies was measured.
        """
        if not self.applies:
            return
        if not self.checks:
            broken = [f" {one}." for one in self.others if not one.passed]
            raise PropertyError(
                f"{self.subject}: no property could be measured.{''.join(broken[:1])}"
            )
        if self.failed:
            broken = [self._line(check) for check in self.worst() if not check.passed]
            count = "a property" if len(broken) == 1 else f"{len(broken)} properties"
            raise PropertyError(f"{self.subject} violates {count}:", *broken)

    def _line(self, worst: Check) -> str:
        """A violated property, and in how many measurements."""
        measured = [one for one in self.checks if (one.id, one.name) == (worst.id, worst.name)]
        bad = sum(not one.passed for one in measured)
        often = f", in {bad} of {len(measured)} measurements" if len(measured) > 1 else ""
        return f"{worst}{often}"


def _share(check: Check) -> float:
    """How much of its tolerance a measurement uses; NaN is the worst."""
    if check.tol > 0 and not isnan(check.value):
        return check.value / check.tol
    return 0.0 if check.value == 0 else float("inf")


def report(subject: str, findings: Iterable[Finding]) -> Report:
    """Measure every property, in order; an exception counts as a violation and ends the report."""
    found: list[Check] = []
    unjudged: list[NotJudged] = []
    try:
        for one in findings:
            if isinstance(one, NotJudged):
                unjudged.append(one)
            else:
                found.append(one)
    except Exception as error:
        last = f"after '{found[-1].name}' " if found else ""
        text = f"{last}raised {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        found.append(Check(ENDED, text, float("nan"), 0.0))
    return Report(subject, tuple(found), tuple(unjudged))
