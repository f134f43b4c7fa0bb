"""The core on a simulated device; in its own process, where the device stays defined."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.device.ghost import SUPPORTED

CASES = [Path(__file__).with_name(f"ghost_{name}.py") for name in ("cases", "evaluation")]


@pytest.mark.skipif(not SUPPORTED, reason="this PyTorch has no device defined in Python")
@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_on_a_simulated_device(cases):
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", str(cases)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=cases.parents[2])
    assert found.returncode == 0, found.stdout[-4000:]
    assert " passed" in found.stdout and " skipped" not in found.stdout
