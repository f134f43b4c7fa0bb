"""What `unfold` exports: every component that a configuration names, loaded when it is used."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import unfold
from tests.stubs import STUB, public_names, text
from unfold.config.options import configs_folder
from unfold.extras import DISTRIBUTION

GROUPS = ("algo", "prior", "physics", "physics/noise", "fidelity", "model", "start", "loss")
FILES = [
    path
    for group in GROUPS
    for path in sorted((configs_folder() / group).glob("*.yaml"))
    if "_target_" in yaml.safe_load(path.read_text())  # others change keys of another option
]


def test_the_stub_is_up_to_date():
    assert STUB.read_text() == text(), "stale: run `make stubs`"


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}={p.stem}")
def test_a_component_of_a_configuration_is_importable(path):
    module, _, name = yaml.safe_load(path.read_text())["_target_"].rpartition(".")
    found = getattr(unfold, name)
    assert (found.__module__, found.__name__) == (module, name)


def test_every_name_is_where_the_stub_says():
    for name, module in public_names().items():
        assert getattr(unfold, name).__module__ == f"unfold.{module}", name
    assert set(public_names()) <= set(dir(unfold))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="PGDD"):
        _ = unfold.PGDD


def test_importing_unfold_imports_no_torch():
    code = "import sys, unfold; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_extras_are_installed_by_the_name_of_this_distribution():
    """`unfold` on the public index is another project."""
    root = Path(__file__).parents[1]
    declared = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert declared["name"] == DISTRIBUTION != "unfold"
    texts = [root / "README.md", *root.glob("docs/*.md"), *root.glob("configs/**/*.yaml")]
    texts += root.glob("unfold/**/*.py")
    for path in texts:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"pip install '?unfold\b", text), path
        extras = re.findall(r"pip install -e '\.\[(\w+)\]'", text)
        assert set(extras) <= set(declared["optional-dependencies"]), path
