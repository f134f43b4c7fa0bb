"""Importing torchmetrics leaves out what is not needed here, and works without the patch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lightning_utilities.core import imports

import unfold
from unfold.training import lean_imports
from unfold.training.lean_imports import UNUSED, import_torchmetrics

PROGRAM = """
import sys
from lightning_utilities.core import imports
before = imports.package_available, imports.RequirementCache.__bool__
from unfold.training.lean_imports import UNUSED, import_torchmetrics
import_torchmetrics()
assert "torchmetrics" in sys.modules
assert not {*UNUSED} & {*sys.modules}, {*UNUSED} & {*sys.modules}
assert before == (imports.package_available, imports.RequirementCache.__bool__)
from torchmetrics.image import PeakSignalNoiseRatio
import matplotlib, scipy
assert imports.package_available("scipy") and imports.RequirementCache("matplotlib")
"""


def test_torchmetrics_is_imported_without_what_it_does_not_need():
    for package in UNUSED:
        pytest.importorskip(package)
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


RECONSTRUCT = """
import sys
from unfold.cli.reconstruct import reconstruct_image
assert reconstruct_image(sys.argv[1:]) == 0
assert not {"lightning", "matplotlib", "scipy.signal"} & {*sys.modules}
"""


def test_a_photograph_is_reconstructed_without_what_trains(tmp_path):
    photo = Path(unfold.__path__[0]) / "data/images/camera.png"
    given = [f"input={photo}", "physics=denoising", f"output={tmp_path / 'x.png'}"]
    subprocess.run([sys.executable, "-c", RECONSTRUCT, *given], check=True, env=os.environ)


@pytest.mark.parametrize("missing", ["package_available", "RequirementCache"])
def test_another_version_of_the_library_is_imported_as_it_is(monkeypatch, missing):
    monkeypatch.delattr(imports, missing)
    imported = []
    monkeypatch.setattr(
        lean_imports,
        "import_module",
        lambda name: imports if name.startswith("lightning") else imported.append(name),
    )
    import_torchmetrics()
    assert imported == ["torchmetrics"]


def test_the_library_is_restored_where_the_import_fails(monkeypatch):
    before = imports.package_available, imports.RequirementCache.__bool__

    def fails(name):
        if name == "torchmetrics":
            raise ImportError("no torchmetrics")
        return imports

    monkeypatch.setattr(lean_imports, "import_module", fails)
    with pytest.raises(ImportError, match="no torchmetrics"):
        import_torchmetrics()
    assert before == (imports.package_available, imports.RequirementCache.__bool__)
