"""Bits that are on record for this platform have not changed."""

import sys

import pytest

from tests.runs import golden
from tests.runs.golden import CONFIGURATIONS, digest, platform, records
from tests.runs.golden import __main__ as command


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_last_weights_have_the_bits_on_record(name):
    known = records().get(platform())
    if known is None:
        pytest.skip(f"no record for {platform()}; python -m tests.runs.golden --update makes one")
    assert digest(name) == known[name], (
        "a training ends with other bits. If that is meant, say so in the commit, and run "
        "python -m tests.runs.golden --update"
    )


def test_records_change_by_the_explicit_command_alone(tmp_path, monkeypatch, capsys):
    file = tmp_path / "hashes.json"
    file.write_text('{"elsewhere": {}}')
    monkeypatch.setattr(golden, "RECORDS", file)
    monkeypatch.setattr(command, "RECORDS", file)
    monkeypatch.setattr(command, "digest", lambda name: name[::-1])
    monkeypatch.setattr(sys, "argv", ["golden"])
    assert command.main() == 1
    assert "no record" in capsys.readouterr().out
    assert records() == {"elsewhere": {}}
    monkeypatch.setattr(sys, "argv", ["golden", "--update"])
    assert command.main() == 0
    monkeypatch.setattr(sys, "argv", ["golden"])
    assert command.main() == 0
    assert set(records()) == {"elsewhere", platform()}
