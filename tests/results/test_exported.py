"""Exported runs: a graph that computes what the network does, and a folder that loads anywhere."""

import re
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from torch.utils.data import DataLoader, TensorDataset

import unfold
from tests.engine import network_prior
from unfold.algorithms.hqs import HQS
from unfold.algorithms.pgd import PGD
from unfold.cli.export import export_run
from unfold.cli.reconstruct import reconstruct_image
from unfold.denoisers.dncnn import DnCNN
from unfold.errors import ConfigError, RunError, ShapeError, UnfoldError
from unfold.export import DeepinvModel, Exportable
from unfold.fidelities.l2 import L2
from unfold.models.deq import DEQ
from unfold.models.unfolded import Unfolded
from unfold.parameters.select import Trainable
from unfold.physics.blur.blur import Blur
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.ct.tomography import Tomography
from unfold.physics.denoising import Denoising
from unfold.physics.mixture import Mixture
from unfold.physics.mri.cartesian import MRI, MultiCoilMRI
from unfold.physics.mri.sampling import VariableDensityColumns
from unfold.physics.noise.base import Gaussian
from unfold.priors.denoiser_priors import PnP
from unfold.pytree import tensors
from unfold.random import Draws
from unfold.reconstructor import Reconstructor
from unfold.results import exported
from unfold.results import graph as graphs
from unfold.results.graph import make_graph
from unfold.runs import status
from unfold.runs.catalogue import Entry, catalogue, read_reference
from unfold.runs.seal import verify
from unfold.solvers.conjugate_gradient import exported_iterations

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
    assert found.difference <= graphs.PARITY and not found.solve
    names = [one for one, _ in found.inputs]
    assert names[0] == "y" and ("noise_level" in names) == ("conditioned" in name)
    x, draws = torch.rand(1, 1, 16, 18), Draws(3, (7,), "other")
    y, operator = physics.measure(x, draws)
    level = torch.full((1,), 0.2)
    got = run_onnx(found.content, [y, *tensors(operator), *[level] * ("conditioned" in name)])
    with torch.no_grad():
        want = net(y, operator, level)
    want = torch.view_as_real(want) if want.is_complex() else want
    # Twice what its own input had: two libraries round their convolutions differently.
    assert (got - want).abs().max() <= 2 * graphs.PARITY * float(want.abs().max())
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

    def forward(self, v, *given):
        return super().forward(v, *given) if float(v.mean()) < 9 else v


def test_what_cannot_be_exported_says_why_and_which_format_can(monkeypatch):
    physics = Blur(Gaussian(0.05), GaussianKernel(3, 0.8))
    net = network(prior=PnP(Sorted(1, 3, 4)))
    with pytest.raises(ConfigError, match=r"cannot be exported: Sorted.forward: .*format=safe"):
        make_graph(net, physics, "torch_export", (1, 12, 12))
    monkeypatch.setattr(graphs, "_run_torch_export", lambda content, given: torch.zeros(()))
    with pytest.raises(ConfigError, match=r"from that of the network, and 1e-05 is allowed"):
        make_graph(network(), physics, "torch_export", (1, 12, 12))


@pytest.mark.parametrize("form", ["torch_export", "onnx"])
def test_a_mixture_of_operators_is_no_graph(form):
    families = {"a": Denoising(Gaussian(0.05)), "b": Blur(Gaussian(0.05), GaussianKernel(3, 0.8))}
    physics = Mixture(Gaussian(0.05), families)
    with pytest.raises(
        ConfigError,
        match="by one of a, b, and a graph holds one, such as physics=denoising: choose",
    ):
        make_graph(network(), physics, form, (1, 12, 12))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The network that comes with unfold, exported, and then moved."""
    made = tmp_path_factory.mktemp("out") / "made"
    assert export_run(["every_operator", f"output={made}"]) == 0
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
        (["format=onxx"], r"no such format, did you mean 'onnx'"),
        (["format=onnx", "size=1x"], r"HEIGHTxWIDTH"),
        (["format=onnx", "iterations=0"], r"from 1 to 9999"),
        (["size=77"], r"size = 77: .*format=onnx or format=torch_export"),
        (["iterations=5", "format=deepinv"], r"iterations = 5: .*format=onnx"),
        (["iterations=5", "format=onnx"], r"iterations = 5: .*unfolded"),
        (["model.iterations=5"], r"model.iterations=5: .*format=onnx"),
        (["physics=denoising"], r"physics=denoising: .*format=onnx"),
        (["physics=denoising", "format=onnx", "iterations=5"], r"iterations = 5: .*unfolded"),
        (["seed=3", "format=onnx"], r"seed=3: .*physics"),
        ([f"output={folder}"], r"exists, and is not replaced"),
        ([f"output={folder}/in"], r"is a finished run"),
    ):
        with pytest.raises(ConfigError, match=match):
            export_run([str(folder), *given])
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
    x = torch.rand(4, 1, 16, 16)
    y = physics(x)
    data = DataLoader(TensorDataset(x, y), batch_size=2)
    scores = library.test(
        DeepinvModel(net),
        data,
        physics,
        metrics=[library.metric.PSNR()],
        verbose=False,
        device="cpu",
    )
    assert scores["PSNR"] > 5
    ours = Blur(Gaussian(0.05), GaussianKernel(3, 0.8)).operator_for(y)
    operator = replace(ours, kernel=physics.filter)
    with torch.no_grad():
        want, got = net(y, operator, 0.05), DeepinvModel(net)(y, physics)
    assert (want - got).abs().max() < 1e-4


@pytest.mark.parametrize("level", [torch.full((3,), 0.05), torch.full((2, 2), 0.05)])
def test_a_noise_level_of_another_batch_is_refused(level):
    noise = SimpleNamespace(sigma=level)
    physics = SimpleNamespace(A_adjoint=lambda y: y, noise_model=noise)
    with pytest.raises(ShapeError, match=rf"{level.numel()} noise levels for 2 measurements"):
        DeepinvModel(network(trainable=NOISY))(torch.rand(2, 1, 16, 16), physics)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3])
def test_parity_is_relative_to_the_image_however_dark(scale):
    image = torch.rand(1, 1, 8, 8)
    want = scale * image / image.max()
    got = want.clone()
    got[0, 0, 3, 3] += 3e-5 * scale
    assert graphs._apart(got, want) == pytest.approx(3e-5, rel=1e-2)
    assert graphs._apart(want, want) == 0 == graphs._apart(0 * want, 0 * want)


def test_a_solve_in_a_graph_has_as_many_iterations_as_were_asked_for():
    physics = MultiCoilMRI(Gaussian(0.01), MASK, coils=2)
    y, operator = physics.measure(torch.rand(1, 1, 8, 8), Draws(0, [0], "test"))
    module, given = Exportable(network(Unfolded(1), HQS()), operator), (y, *tensors(operator))
    with torch.no_grad(), pytest.raises(Exception, match=r"with exported_iterations\(N\)"):
        torch.export.export(module, given, strict=False)
    sizes = []
    for count in (1, 3):
        with torch.no_grad(), exported_iterations(count):
            sizes.append(len(torch.export.export(module, given, strict=False).graph.nodes))
    assert sizes[1] > 1.5 * sizes[0]


def test_an_exported_folder_in_the_place_of_a_run_is_none(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = Path(shutil.copytree(folder, tmp_path / "runs/hqs-blur/zzz"))
    (entry,) = catalogue(tmp_path / "runs")
    assert entry.state == "damaged" and "exported folder" in entry.status.reason
    for name in ("zzz", str(place)):
        with pytest.raises(RunError, match="exported folder"):
            read_reference(name)
    assert read_reference(str(folder)).state == "finished"
    with pytest.raises(RunError, match="exported folder"):
        verify(place)  # as the command that made it does


def test_the_card_describes_the_operator_of_the_run_and_that_of_the_graph(folder, tmp_path):
    made = tmp_path / "graph"
    given = ["every_operator", "physics=denoising", "format=torch_export", "size=16"]
    assert export_run([*given, f"output={made}"]) == 0
    trained = re.search(r"Forward model\*\*: (.*)", (folder / "README.md").read_text())[1]
    text = (made / "README.md").read_text()
    assert trained in text and "Denoising" in text.partition("model.pt2")[2]
    stored = [(one / "config.yaml").read_text() for one in (folder, made)]
    assert stored[0] == stored[1]


def stored(**own):
    return Entry(Path("run"), "run", "finished", status.start(), **own)


def test_paths_of_the_author_stay_at_home():
    config = {
        "runs_dir": "/home/me/runs",
        "data": {"root": "/home/me/my pictures", "test": {"path": "lab/test.npy"}, "name": "tiny"},
        "prior": {"weights": "/home/me/w.pt", "_target_": "unfold.priors.tv.TV"},
    }
    typed = ("data.root='/home/me/my pictures'", "prior.weights=/home/me/w.pt", "seed=1")
    run = stored(config=config, overrides=(*typed, "runs_dir=/home/me/runs", "+data.test.path=~/a"))
    found, overrides = exported._portable(run, trains=True)
    assert "/home/me" not in str((found, overrides)) and "lab" not in str(found)
    assert found["data"] == {"root": "my pictures", "test": {"path": "test.npy"}, "name": "tiny"}
    assert found["prior"] == {"weights": None, "_target_": "unfold.priors.tv.TV"}
    read = OverridesParser.create().parse_overrides(overrides)
    values = {one.key_or_group: one.value() for one in read}
    assert values == {"data.root": "my pictures", "seed": 1, "data.test.path": "a"}
    graph, _ = exported._portable(run, trains=False)
    assert graph["prior"]["weights"] == "w.pt"


@pytest.mark.parametrize(
    ("form", "own", "match"),
    [
        ("onnx", {"folders": (Path("/home/me/options"),)}, r"--config-dir=/home/me/options: "),
        (
            "safetensors",
            {"config": {"prior": {"weights": "w.pt"}}},
            r"prior\.weights = w\.pt.*onnx",
        ),
        ("onnx", {"config": {"prior": {"weights": "w.pt"}}}, ""),
        ("safetensors", {"config": {"prior": {"weights": "every_operator"}}}, ""),
        ("deepinv", {"config": {"prior": {"weights": "embedded"}}}, ""),
    ],
)
def test_what_could_not_be_loaded_elsewhere_is_refused(form, own, match):
    with pytest.raises(ConfigError, match=match) if match else nullcontext():
        exported._expect_portable(stored(**own), form, trains=False)


@pytest.mark.parametrize("form", ["onnx", "torch_export"])
def test_an_operation_without_a_translation_is_named(form):
    physics = Tomography(Gaussian(0.01), angles=6)
    with pytest.raises(ConfigError, match=r"Projector.adjoint: Sparse.* format=deepinv"):
        make_graph(network(), physics, form, (1, 16, 16))


def test_each_image_of_a_batch_has_the_operator_that_deepinv_sampled_for_it():
    """A blur of deepinv takes as many images as it has kernels, and no other number."""
    from unfold.extras import deepinv

    try:
        library = deepinv()
    except UnfoldError:
        pytest.skip("deepinv is not installed")
    kernels = torch.rand(2, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    kernels = kernels / kernels.sum((-1, -2), keepdim=True)
    y, model = torch.rand(2, 1, 16, 16), DeepinvModel(network())
    with torch.no_grad():
        both = model(y, library.physics.Blur(kernels, padding="circular"))
        for i in range(2):
            one = model(y[i : i + 1], library.physics.Blur(kernels[i : i + 1], padding="circular"))
            torch.testing.assert_close(both[i : i + 1], one, rtol=1e-3, atol=1e-4)
