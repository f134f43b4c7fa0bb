"""Where the run of a checked configuration lives."""

from pathlib import Path

from unfold.config.check import Checked
from unfold.runs.identity import directory_for


def place_of(checked: Checked, fingerprint: str) -> Path:
    """The directory of a run; a prior that its algorithm never uses is not in the name."""
    algorithm, choices = checked.groups["algo"], dict(checked.job.choices)
    if algorithm is not None and not algorithm.target.needs_g:
        del choices["prior"]
    return directory_for(checked.job.config, choices, fingerprint)
