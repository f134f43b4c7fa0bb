"""What may differ when a run is repeated: nothing on its platform, little on another."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unfold.runs import files
from unfold.runs.compare import ABSENT, Difference

PLATFORM = ("torch", "cuda", "capability", "cpu", "threads", "gpus")
"""The fields of a machine that determine bits."""

DECIBELS = 0.05
"""How far a figure in dB may be on another platform."""

RATIO = 10 ** (DECIBELS / 10) - 1
"""The same for every other figure, relative: 1.2 %."""


def platform_differences(one: Path, other: Path) -> list[Difference]:
    """The fields in which the platforms of two runs differ, over all of their starts.

    A field that one of them did not record is ignored.
    """
    left, right = _platforms(one), _platforms(other)
    return [
        Difference(name, " and ".join(sorted(left[name])), " and ".join(sorted(right[name])))
        for name in PLATFORM
        if left[name] and right[name] and left[name] != right[name]
    ]


def _platforms(path: Path) -> dict[str, set[str]]:
    origin = files.read_json(path / "provenance.json")
    machines = [attempt["machine"] for attempt in origin.get("attempts", [])]
    machines = machines or [origin["machine"]]
    return {name: {str(m[name]) for m in machines if name in m} for name in PLATFORM}


def score_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Difference]:
    """The scores that differ by more than another platform explains."""
    names = [*one, *(name for name in other if name not in one)]
    pairs = [(name, one.get(name, ABSENT), other.get(name, ABSENT)) for name in names]
    return [Difference(n, str(a), str(b)) for n, a, b in pairs if not _near(n, a, b)]


def _near(name: str, a: Any, b: Any) -> bool:
    if ABSENT in (a, b):
        return False
    if name == "steps" or math.isnan(a) or math.isnan(b):
        return str(a) == str(b)
    if re.search(r"snr|gain", name):
        return bool(abs(a - b) <= DECIBELS)
    return math.isclose(a, b, rel_tol=RATIO)
