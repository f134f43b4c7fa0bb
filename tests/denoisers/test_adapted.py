"""Plain networks of the user, and of MONAI, as denoisers."""

import importlib.util
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.config.folder import refusal
from tests.engine import DOUBLE, difference, uniform
from unfold.config.build import build, verify
from unfold.config.compose import compose
from unfold.denoisers.adapted import ModuleDenoiser
from unfold.errors import ConfigError, ShapeError
from unfold.priors.denoiser_priors import PnP

needed = pytest.mark.skipif(
    importlib.util.find_spec("monai") is None, reason="monai is not installed"
)

BOX = "{_target_: unfold.priors.box.Box}"
SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, channels: int = 5, width: int = 4):
        super().__init__()
        self.layer = nn.Conv2d(channels, width, 3, padding=1)
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x):
        return x - self.last(torch.relu(self.layer(x)))

class Levelled(Net):
    def forward(self, x, sigma):
        return x - sigma * self.last(self.layer(x))

class Shrinking(nn.Module):
    def forward(self, x):
        return x[..., 1:]
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("mine")
    sys.modules.pop("mine", None)


def built(*words: str) -> ModuleDenoiser:
    components = build(verify(compose(["trust=[mine]", *words]))[0])
    (found,) = [m for m in components.reconstructor.modules() if isinstance(m, ModuleDenoiser)]
    return found


def test_a_class_is_named_in_one_line_and_gets_the_channels_of_the_data(mine):
    D = built("prior=dncnn", "prior.denoiser=mine.Net")
    assert isinstance(D.network, mine.Net) and D.network.layer.in_channels == D.channels == 1
    assert not D.uses_sigma and D.level == "none"
    pnp = "{_target_: unfold.priors.denoiser_priors.PnP, denoiser: {_target_: mine.Net, width: 6}}"
    D = built("prior=tv_box", "algo=davis_yin", f"prior.terms=[{pnp}, {BOX}]")
    assert D.network.layer.out_channels == 6
    D = built("prior=red", "algo=gd", "prior.denoiser=mine.Levelled")
    assert D.uses_sigma and D.level == "argument"


def test_its_weights_are_trained_and_nothing_else_is_admitted(mine):
    D = built("prior=dncnn", "prior.denoiser=mine.Net")
    v = torch.rand(2, 1, 6, 6)
    D(v, 0.1).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in D.parameters())
    assert torch.equal(D(v, 0.1), D.network(v))
    text = refusal("prior.denoiser=mine.Net")
    assert "trust=[mine]" in text
    text = refusal("prior.denoiser=torch.nn.Identity")
    assert "prior.denoiser" in text and "torch.nn.Identity" in text
    text = refusal("trust=[mine]", "algo=gd", "prior=crr", "prior.denoiser=mine.Net")
    assert "prior.denoiser" in text and "Potential" in text


def test_in_python_the_level_is_none_an_argument_or_a_channel(mine):
    v, levels = uniform(2, 1, 5, 7), torch.tensor([0.1, 0.3], dtype=DOUBLE).reshape(2, 1, 1, 1)
    plain = ModuleDenoiser(partial(mine.Net, 1), 1).double()
    assert difference(PnP(plain).prox(v, 0.2), plain.network(v)) == 0
    with_argument = ModuleDenoiser(partial(mine.Levelled, 1), 1).double()
    assert difference(with_argument(v, levels), with_argument.network(v, levels)) == 0

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(2, 1, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[-1] % 4 == 0
            return self.layer(x)

    channel = ModuleDenoiser(Both, 1, "channel", 4).double()
    assert channel.uses_sigma and channel(v, levels).shape == v.shape
    assert difference(channel(v, levels)[1:], channel(v[1:], 0.3)) < 1e-12
    complex_image = torch.complex(v, v.flip(2))
    assert channel.denoise(complex_image, 0.1).shape == v.shape


def test_what_is_no_denoiser_of_such_images_is_refused(mine):
    with pytest.raises(ConfigError, match=r"Net: it does not act on images of 2 channels"):
        ModuleDenoiser(partial(mine.Net, 1), 2)
    with pytest.raises(ConfigError, match=r"images of \(1, 32, 32\) become \(1, 32, 31\)"):
        ModuleDenoiser(mine.Shrinking, 1)
    with pytest.raises(ConfigError, match=r"a class of nn\.Module is needed"):
        ModuleDenoiser(dict, 1)
    with pytest.raises(ConfigError, match="multiple = 0"):
        ModuleDenoiser(mine.Net, 1, multiple=0)
    with pytest.raises(ShapeError, match=r"expects 1 channels, got \(1, 2, 4, 4\)"):
        ModuleDenoiser(partial(mine.Net, 1), 1)(torch.rand(1, 2, 4, 4), 0.1)


@needed
@pytest.mark.filterwarnings("ignore")
def test_a_network_of_monai_is_named_with_its_arguments():
    D = built("prior=monai")
    v = torch.rand(2, 1, 40, 33)
    assert type(D.network).__module__.startswith("monai.") and D(v, 0.1).shape == v.shape
    D = built(
        "prior=monai",
        "prior.denoiser.network._target_=monai.networks.nets.SegResNet",
        "prior.denoiser.network.in_channels=2",
        "prior.denoiser.level=channel",
    )
    assert D.uses_sigma and D(v, 0.1).shape == v.shape
    text = refusal("prior=monai", "prior.denoiser.network._target_=monai.networks.nets.SegResNot")
    assert "did you mean 'SegResNet'" in text


def test_without_monai_the_remedy_is_named():
    if importlib.util.find_spec("monai") is not None:
        pytest.skip("monai is installed")
    assert "pip install -e '.[monai]'" in refusal("prior=monai")
