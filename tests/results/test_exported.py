"""Exported runs: a graph that computes what the network does, and a folder that loads anywhere."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import unfold
from tests.engine import network_prior
from unfold.algorithms.hqs import HQS
from unfold.algorithms.pgd import PGD
from unfold.cli.export import export_run
from unfold.cli.reconstruct import reconstruct_image
from unfold.denoisers.dncnn import DnCNN
from unfold.errors import ConfigError, UnfoldError
from unfold.export import DeepinvModel
from unfold.fidelities.l2 import L2
from unfold.models.deq import DEQ
from unfold.models.unfolded import Unfolded
from unfold.parameters.select import Trainable
from unfold.physics.blur.blur import Blur
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.mri.cartesian import MRI, MultiCoilMRI
from unfold.physics.mri.sampling import VariableDensityColumns
from unfold.physics.noise.base import Gaussian
from unfold.priors.denoiser_priors import PnP
from unfold.pytree import tensors
from unfold.random import Draws
from unfold.reconstructor import Reconstructor
from unfold.results import graph as graphs
from unfold.results.graph import make_graph

MASK = VariableDensityColumns(2.0, 0.2)
NOISY = Trainable(condition={"algo.stepsize": ("noise_level",)})

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def network(model=None, algorithm=None, trainable=None, prior=None):
    torch.manual_seed(0)
    net = Reconstructor(
        algorithm or PGD(stepsize=0.8),
        prior or PnP(DnCNN(1, 3, 4)),
        L2(),
        model or Unfolded(2),
        trainable=trainable or Trainable(),
    ).float()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.02 * torch.randn_like(p))
    return net.eval()


def run_onnx(content, values):
    session = pytest.importorskip("onnxruntime").InferenceSession(content)
    named = zip([i.name for i in session.get_inputs()], values, strict=True)
    pairs = {n: torch.view_as_real(v) if v.is_complex() else v for n, v in named}
    return torch.from_numpy(session.run(None, {n: v.numpy() for n, v in pairs.items()})[0])


CASES = {
    "blur, conditioned": (Blur(Gaussian(0.05), GaussianKernel(3, 0.8)), network(trainable=NOISY)),
    "mri": (MRI(Gaussian(0.01), MASK), network(algorithm=HQS())),
}


@pytest.mark.parametrize("name", CASES)
def test_the_file_computes_what_the_network_does_for_another_operator(name):
    pytest.importorskip("onnxscript")
    physics, net = CASES[name]
    found = make_graph(net, physics, "onnx", (1, 16, 18))
    assert found.difference <= 1e-5 and not found.solve
    names = [one for one, _ in found.inputs]
    assert names[0] == "y" and ("noise_level" in names) == ("conditioned" in name)
    x, draws = torch.rand(1, 1, 16, 18), Draws(3, (7,), "other")
    y, operator = physics.measure(x, draws)
    level = torch.full((1,), 0.2)
    got = run_onnx(found.content, [y, *tensors(operator), *[level] * ("conditioned" in name)])
    with torch.no_grad():
        want = net(y, operator, level)
    want = torch.view_as_real(want) if want.is_complex() else want
    assert (got - want).abs().max() <= 1e-5 * max(1, float(want.abs().max()))
    if "conditioned" in name:
        other = run_onnx(found.content, [y, *tensors(operator), level / 10])
        assert (other - got).abs().max() > 1e-4, "the noise level matters"


def test_conjugate_gradients_take_a_fixed_number_of_iterations():
    physics = MultiCoilMRI(Gaussian(0.01), MASK, coils=2)
    found = make_graph(network(Unfolded(1), HQS()), physics, "torch_export", (1, 8, 8))
    assert found.difference <= 1e-5 and found.solve > 2
    assert [name for name, _ in found.inputs] == ["y", "mask", "maps"]
    assert found.inputs[0][1] == (1, 1, 2, 8, 8, 2), "complex numbers are pairs"


def test_an_equilibrium_has_a_fixed_length_and_says_how_far_it_is():
    physics = Blur(Gaussian(0.05), GaussianKernel(3, 0.8))
    net = network(DEQ(), prior=network_prior())
    few, many = (make_graph(net, physics, "torch_export", (1, 12, 12), n) for n in (1, 6))
    assert (few.iterations, many.iterations) == (1, 6)
    assert many.rest < few.rest and max(few.difference, many.difference) <= 1e-5
    with pytest.raises(ConfigError, match=r"9000\s+iterations, 2000 at most. Give fewer"):
        make_graph(net, physics, "onnx", (1, 12, 12), 9000)


class Sorted(DnCNN):
    """A network that no graph of fixed length holds."""

    def forward(self, v):
        return super().forward(v) if float(v.mean()) < 9 else v


def test_what_cannot_be_exported_says_why_and_which_format_can(monkeypatch):
    physics = Blur(Gaussian(0.05), GaussianKernel(3, 0.8))
    net = network(prior=PnP(Sorted(1, 3, 4)))
    with pytest.raises(ConfigError, match=r"cannot be exported: .*format=safetensors and"):
        make_graph(net, physics, "torch_export", (1, 12, 12))
    monkeypatch.setattr(graphs, "_run_torch_export", lambda content, given: torch.zeros(()))
    with pytest.raises(ConfigError, match=r"from that of the network, and 1e-05 is allowed"):
        make_graph(network(), physics, "torch_export", (1, 12, 12))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The network that comes with unfold, exported, and then moved."""
    made = tmp_path_factory.mktemp("out") / "made"
    assert export_run(["every_operator", "physics=motion_blur", f"output={made}"]) == 0
    return made.rename(made.with_name("renamed"))


def test_an_exported_folder_loads_and_reconstructs_wherever_it_is(folder, tmp_path, capsys):
    one, other = (unfold.load(run, "physics=motion_blur") for run in ("every_operator", folder))
    y, operator = one.physics.measure(torch.rand(1, 1, 32, 32), Draws(0, [0], "test"))
    with torch.no_grad():
        assert torch.equal(one(y, operator), other(y, operator))
    assert one.scores == other.scores
    photo = Path(unfold.__path__[0]) / "data/images/camera.png"
    output = tmp_path / "x.png"
    given = [f"run={folder}", f"input={photo}", f"output={output}", "physics=motion_blur"]
    assert reconstruct_image(given) == 0 and output.exists()


def test_the_card_tells_what_it_was_trained_on_and_nothing_of_the_machine(folder):
    text = (folder / "README.md").read_text()
    for part in ("227,833", "every_operator", "## Licence", "## Intended use", "noise", "Scores"):
        assert part in text
    texts = [p.read_text() for p in folder.iterdir() if p.suffix in (".json", ".yaml", ".md")]
    assert not any(word in text for text in texts for word in ("/tmp", "/home", "hostname"))
    assert not [p for p in folder.iterdir() if p.suffix in (".pt", ".ckpt", ".pkl")]


@pytest.mark.parametrize("fault", ["weights", "config", "link", "extra", "pickle"])
def test_a_folder_that_was_changed_is_refused(folder, tmp_path, fault):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    weights = copy / "weights.safetensors"
    if fault == "weights":
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    elif fault == "config":
        text = (copy / "config.yaml").read_text()
        (copy / "config.yaml").write_text(text.replace("_target_: unfold", "_target_: os", 1))
    elif fault == "link":
        weights.unlink()
        weights.symlink_to(folder / "weights.safetensors")
    elif fault == "extra":
        (copy / "more.py").write_text("print()")
    else:
        torch.save({}, weights)
    with pytest.raises(UnfoldError, match=r"weights|config|more\.py"):
        unfold.load(copy)


def test_a_wrong_format_size_or_place_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given, match in (
        (["format=onxx"], r"no such format. Did you mean 'onnx'"),
        (["format=onnx", "size=1x"], r"HEIGHTxWIDTH"),
        (["format=onnx", "iterations=0"], r"from 1 to 9999"),
        ([f"output={folder}"], r"exists, and is not replaced"),
        ([f"output={folder}/in"], r"is a finished run"),
    ):
        with pytest.raises(ConfigError, match=match):
            export_run([str(folder), *given, "physics=motion_blur"])
    assert not list(tmp_path.iterdir())


def test_deepinv_calls_it_as_its_own_models():
    try:
        from unfold.extras import deepinv

        library = deepinv()
    except UnfoldError:
        pytest.skip("deepinv is not installed")
    kernel = torch.rand(1, 1, 3, 3)
    physics = library.physics.Blur(
        kernel / kernel.sum(), padding="circular", noise_model=library.physics.GaussianNoise(0.05)
    )
    net = network(trainable=NOISY)
    data = [(x, physics(x)) for x in torch.rand(2, 2, 1, 16, 16)]
    scores = library.test(
        DeepinvModel(net),
        data,
        physics,
        metrics=[library.metric.PSNR()],
        verbose=False,
        device="cpu",
    )
    assert scores["PSNR"] > 5
    y = data[0][1]
    ours = Blur(Gaussian(0.05), GaussianKernel(3, 0.8)).operator_for(y)
    operator = replace(ours, kernel=physics.filter)
    with torch.no_grad():
        want, got = net(y, operator, 0.05), DeepinvModel(net)(y, physics)
    assert (want - got).abs().max() < 1e-4
