"""What the README shows runs as it is written."""

import re
import sys
from pathlib import Path

import pytest
import torch

from unfold.fidelities.l2 import L2
from unfold.models.classical import Classical
from unfold.models.unfolded import Unfolded
from unfold.physics.noise.base import Gaussian
from unfold.random import Draws
from unfold.reconstructor import Reconstructor

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def block(word, tmp_path, monkeypatch):
    """The module made of the block that holds a word."""
    (text,) = [b for b in BLOCKS if word in b]
    name = "readme_" + re.sub(r"\W", "_", word.lower())
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return __import__(name)


def test_the_library_example_runs(tmp_path, monkeypatch):
    module = block("unfold.Inpainting(", tmp_path, monkeypatch)
    assert module.x_hat.shape == (4, 1, 64, 64)
    assert bool(module.solution.converged.all())


def test_the_example_of_build_runs(tmp_path, monkeypatch):
    module = block("unfold.build(", tmp_path, monkeypatch)
    assert module.x_hat.shape == (2, 1, 64, 64)
    assert isinstance(module.experiment.reconstructor, Reconstructor)


@pytest.mark.parametrize("model", [Unfolded(3), Classical(max_iterations=50)])
def test_the_three_additions_work_together(tmp_path, monkeypatch, model):
    descent = block("class SteepestDescent(", tmp_path, monkeypatch).SteepestDescent
    ridge = block("class Ridge(", tmp_path, monkeypatch).Ridge
    physics = block("class RandomGain(", tmp_path, monkeypatch).RandomGain(Gaussian(0.0))
    x = torch.rand(2, 1, 8, 8)
    y, operator = physics.measure(x, Draws(seed=0, images=range(2)))
    solution = Reconstructor(descent(), ridge(), L2(), model).solve(y, operator)
    torch.testing.assert_close(solution.image, x, atol=1e-4, rtol=0)
