"""Any option of a group can be asked of a stored run, whatever was stored for another option."""

from pathlib import Path

import pytest

from unfold.config.stored_run import stored_overrides
from unfold.errors import ConfigError
from unfold.runs import status
from unfold.runs.catalogue import Entry

CHOICES = {"evaluation": "auto", "physics": "motion_blur", "physics/noise": "poisson"}
STORED = (
    "seed=3",
    "evaluation.noise_levels=[0.1]",
    "evaluation.tv.count=3",
    "+physics@evaluation.operators.own=motion_blur",
    "physics.kernel.size=9",
    "physics/noise=poisson",
    "physics.noise.gain=0.1",
)


@pytest.mark.parametrize(
    ("given", "gone"),
    [
        (["evaluation=robustness"], STORED[1:4]),
        (["evaluation=auto"], ()),
        (["evaluation.gallery=3"], ()),
        (["physics=inpainting"], STORED[4:5]),
        (["physics/noise=gaussian"], STORED[5:7]),
        (["evaluation=robustness", "physics=motion_blur"], STORED[1:4]),
    ],
)
def test_what_was_stored_for_another_option_is_left_out(given, gone):
    entry = Entry(Path(), "run", "finished", status.start(), {}, CHOICES, {}, STORED)
    kept = [text for text in stored_overrides(entry, given) if not text.startswith("-")]
    assert kept == [text for text in STORED if text not in gone]


@pytest.mark.parametrize(
    "planted",
    ["+trust@strict=evil", "trust@_global_=evil", "+physics@trust=evil", "+physics@seed=evil"],
)
def test_a_stored_setting_has_no_other_place(planted):
    """An option of a stranger's folder would stand where only what is typed may."""
    entry = Entry(Path(), "run", "finished", status.start(), {}, CHOICES, {}, (*STORED, planted))
    with pytest.raises(ConfigError, match="which no run has"):
        stored_overrides(entry, [])


def test_what_admits_code_is_not_kept():
    stored = ("trust=[evil]", "accept_code=true", "rerun=true")
    entry = Entry(Path(), "run", "finished", status.start(), {}, CHOICES, {}, (*STORED, *stored))
    assert stored_overrides(entry, []) == list(STORED)
