"""What the README shows runs as it is written; so do the additions of the how-to pages."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch

from unfold.cli.main import dispatch
from unfold.config.compose import compose
from unfold.fidelities.l2 import L2
from unfold.models.classical import Classical
from unfold.models.unfolded import Unfolded
from unfold.physics.noise.base import Gaussian
from unfold.random import Draws
from unfold.reconstructor import Reconstructor

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
LINES = "".join(re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)).splitlines()
COMMANDS = [shlex.split(line, comments=True) for line in LINES]
TRAININGS = [words[2:] for words in COMMANDS if words[:2] == ["python", "train.py"]]
INSPECTIONS = [words[1:] for words in COMMANDS if words[:1] == ["unfold"]]


def made(text, name, tmp_path, monkeypatch):
    """The module made of a text."""
    (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return __import__(name)


def block(word, tmp_path, monkeypatch):
    """The module made of the block of the README that holds a word."""
    (text,) = [b for b in BLOCKS if word in b]
    return made(text, "readme_" + re.sub(r"\W", "_", word.lower()), tmp_path, monkeypatch)


def addition(page, file, tmp_path, monkeypatch):
    """The module made of the block of a how-to page that is a file."""
    text = (ROOT / f"docs/how_to/{page}.md").read_text(encoding="utf-8")
    caption = re.escape(f":caption: mine/{file}.py\n\n")
    (found,) = re.findall(r"```\{code-block\} python\n" + caption + r"(.*?)```", text, re.DOTALL)
    return made(found, f"how_to_{file}", tmp_path, monkeypatch)


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
    descent = addition("own_algorithm", "steepest_descent", tmp_path, monkeypatch).SteepestDescent
    ridge = addition("own_prior", "ridge", tmp_path, monkeypatch).Ridge
    physics = addition("own_physics", "gain", tmp_path, monkeypatch).RandomGain(Gaussian(0.0))
    x = torch.rand(2, 1, 8, 8)
    y, operator = physics.measure(x, Draws(seed=0, images=range(2)))
    solution = Reconstructor(descent(), ridge(), L2(), model).solve(y, operator)
    torch.testing.assert_close(solution.image, x, atol=1e-4, rtol=0)


def test_every_command_is_of_a_known_kind():
    known = [words for words in COMMANDS if words and words[0] in ("make", "unfold")]
    assert len(known) + len(TRAININGS) == len([words for words in COMMANDS if words])
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{w[1]}:", makefile, re.M) for w in known if w[0] == "make")


@pytest.mark.parametrize("words", TRAININGS, ids=" ".join)
def test_the_trainings_compose(words):
    composed = compose([w.replace("IMAGES", str(ROOT / "unfold/data/images")) for w in words])
    assert not composed.problems
    assert composed.jobs


@pytest.mark.parametrize("words", INSPECTIONS, ids=" ".join)
def test_the_commands_run(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "unfold/data/images/camera.png", tmp_path / "photo.png")
    assert dispatch(words) == 0
    assert capsys.readouterr().out
    assert words[0] != "reconstruct" or (tmp_path / "photo_reconstructed.png").is_file()
