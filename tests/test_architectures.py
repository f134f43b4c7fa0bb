"""Named networks: their parameter counts, equations and papers, their formulas, their training."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import unfold
from unfold.config.build import verify
from unfold.config.compose import compose
from unfold.config.options import configs_folder
from unfold.denoisers import averaged
from unfold.errors import ConfigError, ShapeError
from unfold.random import Draws

FILES = {p.stem: p for p in sorted((configs_folder() / "architecture").glob("*.yaml"))}
NARROW = ["prior.denoiser.width=4"]
CHAIN = [*NARROW, "prior.denoiser.depth=3"]
SMALL = {
    "modl": ["model.iterations=3"],
    "admm_net": ["model.iterations=4"],
    "usrnet": [*NARROW, "prior.denoiser.blocks=2"],
    "dpir": [*NARROW, "prior.denoiser.blocks=2"],
    "e2e_varnet": [
        *("algo.refine.width=2", "algo.refine.levels=2", "model.iterations=3"),
        *("algo.calibration.width=2", "algo.calibration.levels=2", "physics.coils=3"),
    ],
    **dict.fromkeys(("de_grad", "de_prox", "de_admm", "fixed_point_network"), CHAIN),
}
COUPLED = ["physics.ratio=0.5", "algo.weights.measurements=72", "algo.weights.pixels=144"]
THRESHOLDING = {  # of images of 12 x 12, half as many measurements
    "alista": COUPLED[:1],
    "lista": [
        *("physics.ratio=0.5", "algo.first.measurements=72", "algo.first.pixels=144"),
        *("algo.second.measurements=144", "algo.second.pixels=144"),
    ],
    **dict.fromkeys(("lista_cp", "lista_cpss", "tilista"), COUPLED),
}
SMALL |= THRESHOLDING
EQUILIBRIA = ("wcrr_equilibrium", "de_grad", "de_prox", "de_admm", "fixed_point_network")
EASY = dict.fromkeys(EQUILIBRIA, "denoising")  # where the iteration contracts at random weights
EASY |= dict.fromkeys(THRESHOLDING, "gaussian_sensing")
BLOCKS = ["physics=block_compressed_sensing", "physics.block=4", "physics.ratio=0.5"]
OWN = dict.fromkeys(("ista_net", "ista_net_plus"), BLOCKS)
OWN["e2e_varnet"] = ["physics=multicoil_mri", "physics.real_images=true"]
"""Of networks whose start is fitted to one operator, or that need coils."""
NOISE = 0.1
PHYSICS = [f"physics.noise.sigma={NOISE}", "data.channels=1"]
every = pytest.mark.parametrize("name", FILES)


FAR = ["model.accuracy=2e-5", "model.max_iterations=300"]


def built(name: str, *more: str) -> unfold.Experiment:
    torch.manual_seed(0)
    physics = OWN.get(name) or [f"physics={EASY.get(name, 'inpainting')}"]
    return unfold.build(f"architecture={name}", *physics, *PHYSICS, *SMALL.get(name, []), *more)


def header(name: str) -> str:
    lines = FILES[name].read_text(encoding="utf-8").splitlines()
    return " ".join(line[2:] for line in lines if line.startswith("# ") and "@package" not in line)


def case(experiment: unfold.Experiment, side: int = 12):
    g = torch.Generator().manual_seed(3)
    rows = torch.linspace(0, 1, side).sin()
    x = 0.5 * rows[:, None] * rows + 0.3 * torch.rand(2, 1, side, side, generator=g).round()
    y, operator = experiment.physics.measure(x, Draws(0, (0, 1)))
    return x, y, operator


@every
def test_a_file_states_the_equation_the_paper_and_the_number_of_parameters(name, monkeypatch):
    monkeypatch.setattr(averaged, "power_step", lambda W, v, steps=1: v)  # of widths it takes long
    text = header(name)
    assert re.search(r"x\+ = |fixed point of", text)
    assert re.search(r"\b(19|20)\d\d\b", text)
    stated = re.search(r"Parameters: ([\d,]+)", text)
    assert stated is not None
    net = unfold.build(f"architecture={name}").reconstructor
    count = sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert count == int(stated[1].rstrip(",").replace(",", ""))


@every
def test_twenty_steps_lower_the_loss(name: str):
    experiment = built(name, *(FAR if name == "wcrr_equilibrium" else []))
    net = experiment.reconstructor
    learned = [p for p in net.parameters() if p.requires_grad]
    if not learned:
        assert "no training" in header(name)
        return
    x, y, operator = case(experiment)
    optimizer = torch.optim.Adam(learned, 1e-2 if name in EQUILIBRIA else 1e-3)
    losses: list[float] = []
    for _ in range(20):
        loss = (net(y, operator, NOISE) - x).square().mean()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        if not losses[1:]:
            assert all(p.grad is not None and p.grad.isfinite().all() for p in learned)
        optimizer.step()
    assert losses[-1] < 0.98 * losses[0], losses


def scalars(net, k: int) -> dict[str, Tensor]:
    values = net.parameter_values()
    return {n.split(".")[-1]: v[k] if v.ndim else v for n, v in values.items()}


def conditioned(net, name: str, features: list[float]) -> Tensor:
    """exp(W tanh(V f + b) + c), the factors of positive values, f the logarithms of features."""
    V, b, W, c = (net.get_parameter(f"{name}.{n}") for n in PARTS)
    return torch.exp(W @ torch.tanh(V @ torch.tensor(features).log10() + b) + c)


PARTS = ("hidden.weight", "hidden.bias", "last.weight", "last.bias")


def reference(name: str, net, y: Tensor, operator, count: int) -> Tensor:
    """The iteration of the paper, by dense linear algebra and automatic differentiation."""
    pixels = y.shape[1:].numel()
    basis = torch.eye(pixels, dtype=y.dtype).reshape(-1, *y.shape[1:])
    one = operator.take(torch.tensor([0]), 2)
    A = torch.cat([one.A(e[None]).reshape(1, -1) for e in basis]).mT
    y = y[:1]
    back = A.mT @ y.flatten()
    start = {"modl": back, "tnrd": back, "learned_primal": 0 * y.flatten()}
    x = start.get(name, torch.linalg.solve(A.mT @ A + 0.02 * torch.eye(pixels), A.mT @ y.flatten()))
    share = float((A.abs().sum(1) > 0).float().mean())
    known = {"noise_level": torch.tensor([NOISE]), "sampling": torch.tensor([share])}
    prior = [net.prior.at(k, known) for k in range(count)]
    algo = [net.algo.at(k, known) for k in range(count)]
    memory = x.reshape(y.shape).repeat(1, 5, 1, 1)
    for k in range(count):
        tau = scalars(net, k).get("stepsize")
        level = net.parameter_values()["prior.sigma"].expand(count)[k]
        if name == "usrnet":
            tau, level = (
                v * conditioned(net, f"{group}.condition_{n}", [NOISE * 10**1.5, share])[k]
                for v, group, n in ((tau, "algo", "stepsize"), (level, "prior", "sigma"))
            )
        slope = A.mT @ (A @ x - y.flatten())
        if name in ("usrnet", "dpir"):
            M = torch.eye(pixels) + tau * A.mT @ A
            z = torch.linalg.solve(M, x + tau * A.mT @ y.flatten()).reshape(y.shape)
            x = prior[k].denoiser(z, level).flatten()
        elif name == "modl":
            z = prior[k].denoiser(x.reshape(y.shape), 0.05).flatten()
            x = torch.linalg.solve(A.mT @ A + torch.eye(pixels) / tau, A.mT @ y.flatten() + z / tau)
        elif name.startswith("learned"):
            block = algo[k].block.layers
            memory = memory + block(torch.cat((memory, slope.reshape(y.shape)), 1))
            x = memory[:, 0].flatten()
        else:
            image = x.reshape(y.shape).requires_grad_()
            (rise,) = torch.autograd.grad(prior[k].value(image).sum(), image)
            x = x - tau * (slope + scalars(net, k)["lambda_reg"] * rise.flatten())
    return x.reshape(y.shape)


@pytest.mark.parametrize(
    "name",
    [
        *("modl", "learned_gradient", "learned_primal", "tnrd", "variational_network"),
        *("crr_tstep", "usrnet", "dpir"),
    ],
)
def test_a_network_is_the_iteration_of_its_paper(name: str):
    experiment = built(name, "model.solve_tol=1e-6")
    net = experiment.reconstructor
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.02 * torch.randn_like(p) * p.abs().mean().clamp(min=1e-2))
    _, y, operator = case(experiment, 8)
    ours = net(y, operator, NOISE)[:1].detach()
    want = reference(name, net, y, operator, net.model.iterations).detach()
    torch.testing.assert_close(ours, want, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", EQUILIBRIA[1:])
def test_an_equilibrium_is_the_fixed_point_of_its_paper(name: str):
    net = built(
        name, "model.tol=1e-7", "model.accuracy=1e-6", "model.max_iterations=500"
    ).reconstructor
    with torch.no_grad():
        for p in net.prior.parameters():
            p.add_(0.05 * torch.randn_like(p))
    _, y, operator = case(built(name), 8)
    D, tau = net.prior.denoiser.eval(), net.algo.at(0, {}).stepsize.detach()
    with torch.no_grad():
        solution = net.solve(y, operator)
        x = z = u = y
        for _ in range(400):  # of A = I
            if name == "de_grad":
                x = x - tau * (x - y + x - D(x, 0.05))
            elif name == "de_admm":
                x = (z - u + tau * y) / (1 + tau)
                z = D(x + u, 0.05)
                u = u + x - z
            else:
                x = D(x - tau * (x - y), 0.05)
    torch.testing.assert_close(solution.image, z if name == "de_admm" else x, rtol=0, atol=2e-5)


@every
def test_the_gradient_is_that_of_finite_differences(name: str):
    accurate = ["model.tol=1e-9", "model.accuracy=1e-8", "model.max_iterations=600"]
    exact = [*accurate, "model.backward.tol=1e-9", "model.backward.accuracy=1e-6"]
    more = [*exact, "model.backward.max_iterations=300"] if name in EQUILIBRIA else []
    if name == "fixed_point_network":
        more = [*more, "model/backward=implicit"]  # its own gradient leaves out the inverse
    net = built(name, *more).reconstructor.double()
    x, y, operator = case(built(name), 12 if name in THRESHOLDING else 8)
    x, y = x.double(), y.to(torch.promote_types(y.dtype, torch.float64))
    operator = operator.to_like(x)
    learned = [p for p in net.parameters() if p.requires_grad]
    if not learned:
        return

    def loss() -> Tensor:
        return (net(y, operator, NOISE) - x).square().mean()

    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in learned:  # away from kinks at the start, such as weights of 0
            p.add_(1e-2 * torch.randn(p.shape, generator=g, dtype=p.dtype))
    net.eval()
    slopes = torch.autograd.grad(loss(), learned)
    ways = [s / (s.norm() + 1e-12) for s in slopes]
    want = sum(float((s * w).sum()) for s, w in zip(slopes, ways, strict=True))
    ends, step = [], 1e-8 if name in OWN else 1e-6  # ISTA-Net has a kink within 1e-6
    with torch.no_grad():
        for h in (step, -2 * step):
            for p, w in zip(learned, ways, strict=True):
                p.add_(h * w)
            ends.append(float(loss()))
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(want, rel=2e-3)


def test_a_network_runs_with_the_physics_and_the_name_that_are_asked_for():
    for name, physics in (("modl", "multicoil_mri"), ("learned_primal", "mri")):
        physics = [f"physics={physics}", "physics.mask.acceleration=2"]
        more = {"learned_primal": ["algo.block.channels=2"]}.get(name, [])
        experiment = unfold.build(f"architecture={name}", *physics, *more, "model.iterations=2")
        x = torch.rand(1, 1, 16, 16)
        y, operator = experiment.physics.measure(x.to(torch.complex64), Draws(0, (0,)))
        assert experiment.reconstructor(y, operator).is_complex()
    with pytest.raises(ConfigError, match=r"architecture = mod: .*did you mean 'modl'"):
        unfold.build("architecture=mod")


@pytest.mark.parametrize("name", THRESHOLDING)
def test_learned_thresholding_is_the_iteration_of_its_paper(name: str):
    """The formulas with W, W₁ and W₂ as matrices, entry by entry in NumPy."""
    experiment = built(name)
    net = experiment.reconstructor
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn_like(p))
    _, y, operator = case(experiment)
    A, b = operator.matrix[0].numpy(), y.numpy().T
    values, L = net.parameter_values(), np.linalg.norm(A, 2) ** 2
    units = np.array([1.0, 1.0]) if name == "alista" else np.array([1.0, 1.0]) / L
    gamma = np.broadcast_to(values["algo.stepsize"].detach() * units[0], 16)
    theta = values["algo.threshold"].detach().numpy() * units[1]
    share = np.broadcast_to(values["algo.support"].numpy(), 16)
    weights = {n: p.detach().numpy() for n, p in net.named_parameters() if "delta" in n}
    u = np.zeros((144, 2))
    for k in range(16):
        if name == "lista":
            first = gamma[k] * A.T + weights["algo.first.delta"].T
            second = np.eye(144) - gamma[k] * A.T @ A + weights["algo.second.delta"].T
            v = first @ b + second @ u
        elif name == "alista":
            W = np.linalg.pinv(A).T  # of rows that are orthonormal, A itself
            W = W / (W * A).sum(0)
            v = u - gamma[k] * W.T @ (A @ u - b)
        else:
            v = u - gamma[k] * (A + weights["algo.weights.delta"]).T @ (A @ u - b)
        largest = np.argsort(-np.abs(v), 0)[: int(np.float32(share[k]) * 144)]
        free = np.zeros_like(v, bool)
        np.put_along_axis(free, largest, True, 0)
        free &= np.abs(v) > theta[k]
        u = np.where(free, v, np.sign(v) * np.maximum(np.abs(v) - theta[k], 0))
    assert np.abs(u).max() > 0.05
    ours = net(y, operator).detach().reshape(2, -1).numpy().T
    np.testing.assert_allclose(ours, u, rtol=1e-4, atol=2e-5)


def test_weights_of_another_size_and_operators_without_a_matrix_are_refused():
    with pytest.raises(
        ShapeError, match=r"Weights\.measurements, pixels = \(72, 144\): .*\(4, 9\)"
    ):
        experiment = built("lista_cp")
        y, operator = experiment.physics.measure(torch.rand(1, 1, 3, 3), Draws(0, (0,)))
        experiment.reconstructor(y, operator)
    experiment = unfold.build("architecture=alista", "physics=inpainting")
    y, operator = experiment.physics.measure(torch.rand(1, 1, 8, 8), Draws(0, (0,)))
    with pytest.raises(
        ConfigError, match=r"AnalyticWeights follow from the matrix .* Mask has none"
    ):
        experiment.reconstructor(y, operator)


def test_another_network_of_the_literature_is_one_file_and_no_python(tmp_path):
    """DPDNN, as docs/experiments.md has it, from a folder of the user."""
    text = (Path(__file__).parents[1] / "docs" / "experiments.md").read_text(encoding="utf-8")
    (example,) = re.findall(
        r"`mine/architecture/dpdnn.yaml`:\n\n```yaml\n(.*?)```", text, re.DOTALL
    )
    (tmp_path / "architecture").mkdir()
    (tmp_path / "architecture" / "dpdnn.yaml").write_text(example, encoding="utf-8")
    words = [*PHYSICS, "prior.denoiser.width=4", "prior.denoiser.levels=2", "model.iterations=3"]
    words += ["--config-dir", str(tmp_path), "architecture=dpdnn", "physics=inpainting"]
    torch.manual_seed(0)
    (job,) = verify(compose(words))
    net, physics = job.components.reconstructor, job.components.physics
    learned = [p for p in net.parameters() if p.requires_grad]
    x = torch.rand(2, 1, 8, 8)
    y, operator = physics.measure(x, Draws(0, (0, 1)))
    optimizer, losses = torch.optim.Adam(learned, 1e-3), []
    for _ in range(20):
        loss = (net(y, operator) - x).square().mean()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.98 * losses[0]
    with torch.no_grad():
        D, u = net.prior.at(0, {}).denoiser, operator.A_adjoint(y)
        deltas, etas = (net.parameter_values()[f"algo.{n}"] for n in ("stepsize", "lambda_reg"))
        assert len(set(deltas.tolist())) == len(set(etas.tolist())) == 3
        for delta, eta in zip(deltas, etas, strict=True):
            u = u - delta * (operator.A_adjoint(operator.A(u) - y) + eta * (u - D(u, 0.05)))
        torch.testing.assert_close(net(y, operator), u, rtol=0, atol=1e-5)
