"""Published weights through named mappings: exact forward parity, and nothing loaded in part."""

import importlib.util
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, conv_transpose2d, pad, pixel_shuffle, relu

from tests.engine import difference, normal, uniform
from unfold.config.build import build, verify
from unfold.config.compose import compose
from unfold.config.weights import start_from
from unfold.denoisers.dncnn import DnCNN
from unfold.denoisers.drunet import DRUNet
from unfold.denoisers.ffdnet import FFDNet
from unfold.denoisers.mappings import MAPPINGS, Rule, WeightMapping
from unfold.denoisers.ridge import ConvexRidge
from unfold.denoisers.unet import UNet
from unfold.errors import CheckpointError, UnfoldError
from unfold.parameters.networks import stages
from unfold.random import Draws
from unfold.training.checkpoints.foreign import load_network

State = dict[str, Tensor]
HERE = importlib.util.find_spec("deepinv") is not None
needed = pytest.mark.skipif(not HERE, reason="deepinv is not installed")


def kair_dncnn(depth: int, width: int, channels: int, norm: bool, seed: int = 0) -> State:
    """Random weights under the names of KAIR's DnCNN, with or without batch normalisation."""
    state: State = {}
    place, sizes = 0, [channels, *[width] * (depth - 1), channels]
    for i, (a, b) in enumerate(pairwise(sizes)):
        state[f"model.{place}.weight"] = 0.3 * normal(b, a, 3, 3, seed=seed + i)
        state[f"model.{place}.bias"] = 0.1 * normal(b, seed=seed + 50 + i)
        if norm and 0 < i < depth - 1:
            place += 1
            state[f"model.{place}.weight"] = uniform(b, seed=seed + 100 + i) + 0.5
            state[f"model.{place}.bias"] = 0.1 * normal(b, seed=seed + 150 + i)
            state[f"model.{place}.running_mean"] = 0.1 * normal(b, seed=seed + 200 + i)
            state[f"model.{place}.running_var"] = uniform(b, seed=seed + 250 + i) + 0.2
            state[f"model.{place}.num_batches_tracked"] = torch.tensor(7)
        place += 2
    return state


def run_sequence(w: State, x: Tensor, eps: float, prefix: str = "model") -> Tensor:
    """The layers of such a state, one after the other."""
    numbers = sorted({int(k.split(".")[1]) for k in w if k.startswith(prefix)})
    for n in numbers:
        key = f"{prefix}.{n}."
        if f"{key}running_mean" in w:
            mean, var = w[f"{key}running_mean"], w[f"{key}running_var"]
            x = batch_norm(x, mean, var, w[f"{key}weight"], w[f"{key}bias"], False, 0.0, eps)
            continue
        activated = n > 0 and f"{prefix}.{n}.running_mean" not in w
        x = conv2d(relu(x) if activated else x, w[f"{key}weight"], w[f"{key}bias"], padding=1)
    return x


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@torch.no_grad()
def test_dncnn_of_kair_is_ours_with_its_normalisation_merged(tmp_path, norm, suffix):
    state = kair_dncnn(13, 4, 2, norm)  # more than ten layers: names are not in the order of text
    path, v = tmp_path / f"dncnn{suffix}", uniform(2, 2, 6, 9)
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    network = DnCNN(2, 13, 4).double()
    report = load_network(network, path, "kair_dncnn")
    want = v - run_sequence(state, v, 1e-4)
    assert difference(network(v, 0.1), want) < 1e-12 * float(want.norm())
    assert "26 tensors matched" in report and "left over: none" in report
    assert ("11 batch normalisations merged" in report) == norm
    assert "never run on a released file" in report


@torch.no_grad()
def test_our_own_normalised_network_becomes_a_plain_one(tmp_path):
    torch.manual_seed(0)
    first = DnCNN(1, 4, 6, batch_norm=True).double()
    for _ in range(3):
        first(uniform(4, 1, 8, 8), 0.1)
    first.eval()
    torch.save(first.state_dict(), tmp_path / "own.pt")
    plain = DnCNN(1, 4, 6).double()
    load_network(plain, tmp_path / "own.pt", "dncnn_batch_norm")
    v = uniform(2, 1, 5, 5, seed=3)
    assert difference(plain(v, 0.0), first(v, 0.0)) < 1e-12


def kair_drunet(blocks: int, width: int, channels: int) -> State:
    """Random weights under the names of KAIR's UNetRes."""
    sizes = [width * 2**i for i in range(4)]
    state = {"m_head.weight": normal(width, channels + 1, 3, 3)}
    shapes = {"m_body": (sizes[3], 0, None)}
    for i in (1, 2, 3):
        shapes[f"m_down{i}"] = (sizes[i - 1], 0, (blocks, (sizes[i], sizes[i - 1], 2, 2)))
        shapes[f"m_up{i}"] = (sizes[i - 1], 1, (0, (sizes[i], sizes[i - 1], 2, 2)))
    for seed, (name, (w, first, scaled)) in enumerate(shapes.items()):
        for b in range(first, first + blocks):
            for part in (0, 2):
                kernel = 0.2 * normal(w, w, 3, 3, seed=100 * seed + 3 * b + part)
                state[f"{name}.{b}.res.{part}.weight"] = kernel
        if scaled is not None:
            state[f"{name}.{scaled[0]}.weight"] = 0.3 * normal(*scaled[1], seed=1000 + seed)
    state["m_tail.weight"] = normal(channels, width, 3, 3, seed=99)
    return state


def run_drunet(w: State, x: Tensor, blocks: int) -> Tensor:
    def residual(name: str, first: int, x: Tensor) -> Tensor:
        for b in range(first, first + blocks):
            inner = relu(conv2d(x, w[f"{name}.{b}.res.0.weight"], padding=1))
            x = x + conv2d(inner, w[f"{name}.{b}.res.2.weight"], padding=1)
        return x

    x = conv2d(x, w["m_head.weight"], padding=1)
    kept = [x]
    for i in (1, 2, 3):
        x = residual(f"m_down{i}", 0, x)
        x = conv2d(x, w[f"m_down{i}.{blocks}.weight"], stride=2)
        kept.append(x)
    x = residual("m_body", 0, x)
    for i in (3, 2, 1):
        x = conv_transpose2d(x + kept.pop(), w[f"m_up{i}.0.weight"], stride=2)
        x = residual(f"m_up{i}", 1, x)
    return conv2d(x + kept.pop(), w["m_tail.weight"], padding=1)


@torch.no_grad()
def test_drunet_of_kair_is_ours(tmp_path):
    state, v = kair_drunet(2, 3, 1), uniform(2, 1, 16, 8)
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": t for k, t in state.items()}}, tmp_path / "a.pth"
    )
    network = DRUNet(1, 2, 3).double()
    load_network(network, tmp_path / "a.pth", "kair_drunet")
    want = run_drunet(state, torch.cat((v, torch.full_like(v, 0.1)), 1), 2)
    assert difference(network(v, 0.1), want) < 1e-12 * float(want.norm())
    torch.save(state, tmp_path / "b.pth")  # the names are ours: no mapping is needed
    assert load_network(network, tmp_path / "b.pth") == ""
    cut, wide = uniform(1, 1, 11, 5), torch.zeros(1, 1, 16, 8, dtype=v.dtype)
    for i in range(16):
        for j in range(8):
            wide[..., i, j] = cut[..., min(i, 10), min(j, 4)]
    assert difference(network(cut, 0.1), network(wide, 0.1)[..., :11, :5]) < 1e-12


@torch.no_grad()
def test_ffdnet_of_kair_is_ours(tmp_path):
    state = kair_dncnn(4, 6, 1, norm=False)
    state["model.0.weight"], state["model.6.weight"] = normal(6, 5, 3, 3), normal(4, 6, 3, 3)
    state["model.6.bias"], v = normal(4), uniform(1, 1, 6, 8)
    torch.save({"params": state}, tmp_path / "f.pth")
    network = FFDNet(1, 4, 6).double()
    load_network(network, tmp_path / "f.pth", "kair_ffdnet")
    blocks = torch.stack([v[:, 0, i::2, j::2] for i in (0, 1) for j in (0, 1)], 1)
    level = torch.full_like(blocks[:, :1], 0.2)
    want = pixel_shuffle(run_sequence(state, torch.cat((blocks, level), 1), 1e-4), 2)
    assert difference(network(v, 0.2), want) < 1e-12 * float(want.norm())


@needed
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_networks_of_deepinv_are_ours(tmp_path, channels):
    from unfold.extras import deepinv

    models = deepinv().models
    torch.manual_seed(0)
    v = torch.rand(2, channels, 32, 40)
    theirs: nn.Module = models.DnCNN(channels, channels, depth=12, nf=6, pretrained=None)
    torch.save(theirs.state_dict(), tmp_path / "dncnn.pth")
    ours = DnCNN(channels, 12, 6)
    assert "2 of them converted" in load_network(ours, tmp_path / "dncnn.pth", "deepinv_dncnn")
    assert (ours(v, 0.1) - theirs(v, 0.1)).abs().max() < 1e-6
    theirs = models.DRUNet(channels, channels, nc=(4, 8, 16, 32), nb=2, pretrained=None)
    save_file(theirs.state_dict(), tmp_path / "drunet.safetensors")
    drunet = DRUNet(channels, 2, 4)
    load_network(drunet, tmp_path / "drunet.safetensors", "deepinv_drunet")
    assert (drunet(v, 0.1) - theirs(v, 0.1)).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        ({"extra.weight": torch.ones(1)}, ["left over: extra.weight"]),
        ({"model.0.weight": None}, ["missing: noise.0.weight"]),
        ({"model.0.bias": torch.ones(5)}, ["noise.0.bias is (5,), (4,) expected"]),
        ({"model.2.running_var": torch.ones(3), "model.2.running_mean": torch.ones(3)}, [""]),
        ("channels", ["images of 3 channels, and the network is for 1", "data.channels=3"]),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_loaded(tmp_path, change, texts):
    state = kair_dncnn(3, 4, 3 if change == "channels" else 1, norm=False)
    for key, t in change.items() if isinstance(change, dict) else ():
        state.pop(key, None)
        state |= {} if t is None else {key: t}
    torch.save(state, tmp_path / "x.pth")
    network = DnCNN(1, 3, 4)
    before = {k: t.clone() for k, t in network.state_dict().items()}
    with pytest.raises(CheckpointError, match="do not fit, and none is loaded") as caught:
        load_network(network, tmp_path / "x.pth", "kair_dncnn")
    assert all(text in str(caught.value) for text in texts), caught.value
    assert all(torch.equal(before[k], t) for k, t in network.state_dict().items())


def test_a_wrong_name_and_a_wrong_network_are_refused_and_the_right_name_is_offered(tmp_path):
    torch.save(kair_dncnn(3, 4, 1, norm=True), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="did you mean 'kair_dncnn'"):
        load_network(DnCNN(1, 3, 4), tmp_path / "x.pth", "kair_dncn")
    with pytest.raises(CheckpointError, match=r"weights of DnCNN, and the network is ConvexRidge"):
        load_network(ConvexRidge(1), tmp_path / "x.pth", "kair_dncnn")
    with pytest.raises(CheckpointError, match=r"belong to another model[^|]*add map=kair_dncnn"):
        load_network(DnCNN(1, 3, 4), tmp_path / "x.pth")


class Payload:
    def __reduce__(self):
        return (open, ("/tmp/never", "w"))


def test_a_pickle_is_refused_and_never_run(tmp_path):
    for name, held in (
        ("a.pth", {"model": Payload()}),
        ("b.pt", Payload()),
        ("c.pth", nn.Conv2d(1, 1, 1)),
    ):
        torch.save(held, tmp_path / name)
        for mapping in ("kair_dncnn", None):
            with pytest.raises(CheckpointError, match="not readable as tensors alone"):
                load_network(DnCNN(1, 3, 4), tmp_path / name, mapping)
    torch.save({"step": 3}, tmp_path / "d.pth")
    with pytest.raises(CheckpointError, match="a dictionary of tensors is expected, it holds step"):
        load_network(DnCNN(1, 3, 4), tmp_path / "d.pth", "kair_dncnn")
    assert not Path("/tmp/never").exists()


def test_a_mapping_is_chosen_on_the_command_line(tmp_path):
    torch.save(kair_dncnn(7, 32, 1, norm=True), path := tmp_path / "dncnn.pth")
    words = ["data.channels=1", f"prior.weights={path}"]
    components = build(verify(compose([*words, "map=kair_dncnn"]))[0])
    (sentence,) = components.origins
    assert sentence.startswith(f"prior.denoiser starts from {path} through map=kair_dncnn: 14 tens")
    with pytest.raises(UnfoldError, match=r"add map=kair_dncnn"):
        build(verify(compose(words))[0])
    torch.save(kair_dncnn(7, 32, 3, norm=True), path)
    with pytest.raises(UnfoldError, match=r"images of 3 channels, and the network is for 1"):
        build(verify(compose([*words, "map=kair_dncnn"]))[0])


def test_every_weight_may_start_from_a_mapped_file_and_a_mapping_needs_one(tmp_path):
    torch.save(kair_dncnn(7, 32, 1, norm=True), path := tmp_path / "dncnn.pth")
    checked = verify(
        compose([f"init_from={path}", "map=kair_dncnn", "trainable.untied=[prior.*]"])
    )[0]
    reconstructor = build(checked).reconstructor
    sentence = start_from(reconstructor, checked.settings)
    assert sentence.startswith(f"prior.denoiser starts from {path} through map=kair_dncnn: 14 tens")
    networks = stages(reconstructor.prior.denoiser)
    assert len(networks) > 1
    want = DnCNN(1, 7, 32)
    load_network(want, path, "kair_dncnn")
    for network in networks:
        assert all(map(torch.equal, network.parameters(), want.parameters()))
    with pytest.raises(
        CheckpointError, match=r"a run is expected.*need map=NAME: crr, csf, deepinv"
    ):
        start_from(reconstructor, verify(compose([f"init_from={path}"]))[0].settings)
    with pytest.raises(UnfoldError, match=r"map = kair_dncnn: there is no file to map"):
        verify(compose(["map=kair_dncnn"]))


@torch.no_grad()
def test_a_rule_may_transpose_scale_and_reshape(tmp_path, monkeypatch):
    rules = (
        Rule(r"conv\.(?P<n>\d+)\.W", "noise.{j}.weight", 2, 0.5, (3, 2, 0, 1)),
        Rule(r"conv\.(?P<n>\d+)\.b", "noise.{j}.bias", 2, reshape=True),
    )
    monkeypatch.setitem(MAPPINGS, "other", WeightMapping("DnCNN", rules, released=True))
    network = DnCNN(1, 2, 3)
    own = network.state_dict()
    names = {0: "noise.0", 7: "noise.2"}  # their numbers need not be ours
    state = {f"conv.{n}.W": (2 * own[f"{k}.weight"]).permute(2, 3, 1, 0) for n, k in names.items()}
    state |= {f"conv.{n}.b": own[f"{k}.bias"] + 1 for n, k in names.items()}
    torch.save({k: t.contiguous() for k, t in state.items()}, tmp_path / "o.pt")
    before = {k: t.clone() for k, t in own.items()}
    report = load_network(network, tmp_path / "o.pt", "other")
    assert "4 tensors matched, 4 of them converted" in report and "released" not in report
    for key, t in network.state_dict().items():
        assert torch.equal(t, before[key] + ("bias" in key))


def test_every_mapping_names_a_network_and_what_it_was_run_on():
    import unfold

    for mapping in MAPPINGS.values():
        assert hasattr(unfold, mapping.network) and not mapping.released


def phases(count: int, width: int, plus: bool) -> State:
    """Random weights under the published names of ISTA-Net and ISTA-Net+, some steps negative."""
    state: State = {}
    inner = width if plus else 1
    sizes = {"conv1_forward": (width, inner), "conv2_forward": (width, width)}
    sizes |= {"conv1_backward": (width, width), "conv2_backward": (inner, width)}
    sizes |= {"conv_D": (width, 1), "conv_G": (1, width)} if plus else {}
    for k in range(count):
        state[f"fcs.{k}.lambda_step"] = torch.tensor([0.5 - 0.4 * k], dtype=torch.float64)
        state[f"fcs.{k}.soft_thr"] = torch.tensor([0.01 + 0.02 * k], dtype=torch.float64)
        for i, (name, (a, b)) in enumerate(sizes.items()):
            state[f"fcs.{k}.{name}"] = 0.3 * normal(a, b, 3, 3, seed=10 * k + i)
    return state


def published(w: State, count: int, phi: Tensor, y: Tensor, Q: Tensor, plus: bool) -> Tensor:
    """The phases as they are published: rows of `y` are measured blocks."""
    side = int(phi.shape[1] ** 0.5)
    x = y @ Q.mT
    for k in range(count):
        x = x - w[f"fcs.{k}.lambda_step"] * (x @ phi.mT @ phi - y @ phi)
        image = x.reshape(-1, 1, side, side)
        u = conv2d(image, w[f"fcs.{k}.conv_D"], padding=1) if plus else image
        u = relu(conv2d(u, w[f"fcs.{k}.conv1_forward"], padding=1))
        u = conv2d(u, w[f"fcs.{k}.conv2_forward"], padding=1)
        u = torch.sign(u) * relu(u.abs() - w[f"fcs.{k}.soft_thr"])
        u = relu(conv2d(u, w[f"fcs.{k}.conv1_backward"], padding=1))
        u = conv2d(u, w[f"fcs.{k}.conv2_backward"], padding=1)
        x = (image + conv2d(u, w[f"fcs.{k}.conv_G"], padding=1) if plus else u).flatten(1)
    return x.reshape(-1, 1, side, side)


@pytest.mark.parametrize("plus", [True, False])
@torch.no_grad()
def test_ista_net_is_the_published_one_with_its_steps_and_thresholds(tmp_path, plus):
    name = "ista_net_plus" if plus else "ista_net"
    state, path = phases(3, 4, plus), tmp_path / "net_params_200.pkl.pth"
    torch.save({f"module.{key}": t for key, t in state.items()}, path)
    words = [f"architecture={name}", "model.iterations=3", "prior.denoiser.width=4", "seed=0"]
    words += ["physics.block=5", "physics.ratio=0.4", "physics/noise=none", f"init_from={path}"]
    words += [f"map={name}"]
    (narrow,) = verify(compose(words))
    made = build(narrow)
    with pytest.raises(CheckpointError, match=r"algo.stepsize = -0.3 to 0.5, and its set is pos.*"):
        start_from(made.reconstructor, narrow.settings)
    (job,) = verify(compose([*words, "trainable.widen={algo.stepsize: [-inf, inf]}"]))
    net = job.components.reconstructor.double()
    report = start_from(net, job.settings)
    assert "left over: none" in report and "never run on a released file" in report
    net.start.matrix.copy_(normal(25, 10, seed=99))
    x = uniform(4, 1, 5, 5)
    y, operator = job.components.physics.measure(x, Draws(0, range(4), dtype=torch.float64))
    phi = job.components.physics.rows[0]
    rows = y.flatten(1)
    want = published(state, 3, phi, rows, net.start.matrix, plus)
    assert difference(net(y, operator), want) < 1e-6 * float(want.norm())
    lacking = {key: t for key, t in state.items() if key != "fcs.1.soft_thr"}
    torch.save(lacking, path)
    with pytest.raises(CheckpointError) as caught:
        start_from(net, job.settings)
    assert "prior.denoiser.1.soft_thr" in "".join(caught.value.lines)


@torch.no_grad()
def test_separate_blocks_are_the_published_test_of_ista_net(tmp_path):
    """Zeros to multiples of a block on each axis, one more where it is one; cut out at last."""
    state, path, n = phases(2, 4, True), tmp_path / "net_params_200.pth", 5
    torch.save(state, path)
    words = ["architecture=ista_net_plus", "model.iterations=2", "prior.denoiser.width=4"]
    words += ["physics.block=5", "physics.ratio=0.4", "physics/noise=none", f"init_from={path}"]
    words += ["map=ista_net_plus", "trainable.widen={algo.stepsize: [-inf, inf]}"]
    (job,) = verify(compose([*words, "physics.separate=true"]))
    net = job.components.reconstructor.double()
    start_from(net, job.settings)
    net.start.matrix.copy_(normal(n * n, 10, seed=99))
    x, phi = uniform(2, 1, 12, 15), job.components.physics.rows[0]
    y, operator = job.components.physics.measure(x, Draws(0, range(2), dtype=torch.float64))
    solution = net.solve(y, operator, keep_iterates=True, noise_level=torch.tensor([0.1, 0.2]))
    padded = pad(x, (0, n - 15 % n, 0, n - 12 % n))
    found = torch.zeros_like(padded)
    for i in range(0, padded.shape[2], n):
        for j in range(0, padded.shape[3], n):
            rows = padded[:, 0, i : i + n, j : j + n].flatten(1) @ phi.mT
            block = published(state, 2, phi, rows, net.start.matrix, True)
            found[:, :, i : i + n, j : j + n] = block
    want = found[..., :12, :15]
    assert difference(solution.image, want) < 1e-6 * float(want.norm())
    assert [one.shape for one in solution.iterates] == [x.shape] * 3
    assert solution.residual.shape == solution.iterations.shape == (2,)
    (job,) = verify(compose(words))  # not so where the network sees all blocks together
    y, operator = job.components.physics.measure(x, Draws(0, range(2), dtype=torch.float64))
    assert float((net(y, operator) - want).norm()) > 0.1 * float(want.norm())


def test_weights_for_other_channels_say_which(tmp_path: Path):
    path = tmp_path / "colour.safetensors"
    for theirs, ours in ((DnCNN(3, 3, 4), DnCNN(1, 3, 4)), (UNet(3, 2, 4), UNet(1, 2, 4))):
        save_file({f"prior.denoiser.{n}": t for n, t in theirs.state_dict().items()}, path)
        with pytest.raises(CheckpointError, match=r"of 3 channels, .* for 1, set data.channels=3"):
            load_network(ours, path)
