"""A constructor's default is that of its YAML, so that Python and the command line agree."""

import importlib
import inspect
import math
from collections import defaultdict
from dataclasses import MISSING, fields

import pytest
from omegaconf import OmegaConf
from torch import nn

from tests.shipped import EXTRAS
from unfold.config.options import configs_folder
from unfold.reconstructor import Reconstructor

CHOSEN = {"weights", "noise", "terms", "by_physics"}
"""Components that an option chooses, of which Python has none until one is given."""


def components(node):
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for inner in node.values():
            yield from components(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from components(inner)


def follows(value):
    """Whether a value is taken from another key."""
    return isinstance(value, str) and "${" in value


def given():
    """By class and argument, the values that the options give, as plain data."""
    found = defaultdict(lambda: defaultdict(list))
    for path in sorted(configs_folder().rglob("*.yaml")):
        if path.stem in EXTRAS or path.parent.name in ("experiment", "sweep", "launcher"):
            continue
        for node in components(OmegaConf.to_container(OmegaConf.load(path))):
            for key, value in node.items():
                if not key.startswith("_") and key != "defaults" and not follows(value):
                    found[node["_target_"]][key].append(value)
    return found


GIVEN = given()


def default_of(target, key):
    module, _, name = target.rpartition(".")
    made = getattr(importlib.import_module(module), name)
    for field in fields(made) if hasattr(made, "__dataclass_fields__") else ():
        if field.name == key and field.default_factory is not MISSING:
            return field.default_factory()
    return inspect.signature(made).parameters[key].default


def same(default, value):
    if isinstance(value, dict) and "_target_" in value:
        inner = {k: v for k, v in value.items() if not k.startswith("_") and not follows(v)}
        named = type(default).__name__ == value["_target_"].rpartition(".")[2]
        known = isinstance(default, nn.Module)  # a network keeps layers, not its arguments
        return named and (known or all(same(getattr(default, k), v) for k, v in inner.items()))
    if isinstance(value, list):
        pairs = isinstance(default, list | tuple) and len(default) == len(value)
        return pairs and all(same(a, b) for a, b in zip(default, value, strict=True))
    if isinstance(value, float) and isinstance(default, float):
        return math.isclose(default, value, rel_tol=1e-12)
    return default == value


@pytest.mark.parametrize("target", sorted(GIVEN))
def test_defaults_are_those_of_the_options(target):
    for key, values in GIVEN[target].items():
        default = default_of(target, key)
        if default is inspect.Parameter.empty or key in CHOSEN:
            continue
        assert any(same(default, value) for value in values), (key, default, values)


def test_a_reconstructor_starts_as_the_command_does():
    (choice,) = (d["start"] for d in OmegaConf.load(configs_folder() / "train.yaml").defaults
                 if "start" in d)  # fmt: skip
    option = OmegaConf.to_container(OmegaConf.load(configs_folder() / f"start/{choice}.yaml"))
    from tests.training.small import small_training

    start = small_training().reconstructor.start
    assert isinstance(small_training().reconstructor, Reconstructor)
    assert same(start, option), start
