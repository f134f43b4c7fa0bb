"""What a law found: one figure beside its tolerance, and all of them in a report."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from unfold.errors import UnfoldError

ENDED = "XX0"
"""The row of a law that raised, which ends a report."""


class LawError(UnfoldError, AssertionError):
    """A component breaks a law; the text has the worst figure of every law that is broken."""


class Check(NamedTuple):
    """One law, measured.

    id: its row in the kit, e.g. PH1.
    law: in words or as a formula.
    value: the error that was measured.
    tol: the largest error allowed.
    """

    id: str
    law: str
    value: float
    tol: float

    @property
    def passed(self) -> bool:
        """Whether the law holds; never where the value is not a number."""
        return self.value <= self.tol

    def __str__(self) -> str:
        return (
            f"{self.id} {self.law}: {self.value:.2e} {'≤' if self.passed else '>'} {self.tol:.0e}"
        )


class NotJudged(NamedTuple):
    """A law that was not measured, and why; neither kept nor broken.

    id: its row in the kit, e.g. PH7.
    law: in words or as a formula.
    reason: what stood in the way, in one sentence.
    tried: whether measuring failed; else the component says of itself that the law is none of its.
    """

    id: str
    law: str
    reason: str
    tried: bool = False

    def __str__(self) -> str:
        return f"{self.id} {self.law}: not judged, {self.reason}"


Finding = Check | NotJudged
"""What the kit has to say of one law."""


def holds(id: str, law: str, truth: bool) -> Check:
    """A law that is exact: error 0 where it holds, 1 where not."""
    return Check(id, law, 0.0 if truth else 1.0, 0.0)


@dataclass(frozen=True)
class Report:
    """The laws of one component.

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
        """What is broken."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def passed(self) -> bool:
        """Whether every law holds, and there was one."""
        return bool(self.checks) and not self.failed

    @property
    def applies(self) -> bool:
        """Whether rows that were asked for are laws of the component, or might be.

        They are not where none was measured or tried, and whatever else was measured holds.
        """
        kept = bool(self.others) and all(check.passed for check in self.others)
        return bool(self.checks) or any(one.tried for one in self.unjudged) or not kept

    def worst(self) -> tuple[Check, ...]:
        """Of every law, the measurement nearest to breaking it, in the order of the kit."""
        found: dict[tuple[str, str], Check] = {}
        for check in self.checks:
            key = (check.id, check.law)
            if key not in found or not _share(check) <= _share(found[key]):
                found[key] = check
        return tuple(sorted(found.values(), key=lambda c: (c.id[:2], int(c.id[2:]))))

    def only(self, ids: Collection[str]) -> "Report":
        """The rows with these ids, and what ended the report early; all rows for none."""
        if not ids:
            return self
        wanted = {*ids, ENDED}
        checks = tuple(one for one in self.checks if one.id in wanted)
        unjudged = tuple(one for one in self.unjudged if one.id in ids)
        others = tuple(one for one in self.checks if one.id not in wanted)
        return Report(self.subject, checks, unjudged, others)

    def left_out(self) -> tuple[NotJudged, ...]:
        """Of every law that could not be measured somewhere, the first reason."""
        first: dict[tuple[str, str], NotJudged] = {}
        for one in self.unjudged:
            first.setdefault((one.id, one.law), one)
        return tuple(first.values())

    def raise_if_failed(self) -> None:
        """Raise with every broken law.

        Raises:
            LawError: a law does not hold, or nothing that applies was measured.
        """
        if not self.applies:
            return
        if not self.checks:
            broken = [f" {one}." for one in self.others if not one.passed]
            raise LawError(f"{self.subject}: no law could be measured.{''.join(broken[:1])}")
        if self.failed:
            broken = [self._told(check) for check in self.worst() if not check.passed]
            count = "a law" if len(broken) == 1 else f"{len(broken)} laws"
            raise LawError("\n  ".join([f"{self.subject} breaks {count}:", *broken]))

    def _told(self, worst: Check) -> str:
        """A broken law, and how often it was."""
        measured = [one for one in self.checks if (one.id, one.law) == (worst.id, worst.law)]
        bad = sum(not one.passed for one in measured)
        often = f", in {bad} of {len(measured)} measurements" if len(measured) > 1 else ""
        return f"{worst}{often}"


def _share(check: Check) -> float:
    """How much of its tolerance a measurement uses."""
    if check.tol > 0:
        return check.value / check.tol
    return 0.0 if check.value == 0 else float("inf")


def report(subject: str, findings: Iterable[Finding]) -> Report:
    """Measure every law, in order; one that raises is broken and ends the report."""
    found: list[Check] = []
    unjudged: list[NotJudged] = []
    try:
        for one in findings:
            if isinstance(one, NotJudged):
                unjudged.append(one)
            else:
                found.append(one)
    except Exception as error:
        last = f"after '{found[-1].law}' " if found else ""
        text = f"{last}raised {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        found.append(Check(ENDED, text, float("nan"), 0.0))
    return Report(subject, tuple(found), tuple(unjudged))
