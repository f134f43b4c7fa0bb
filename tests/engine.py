"""Small problems in float64 for the tests of priors, algorithms and models."""

from typing import Any

import torch
from torch import Tensor, nn

from unfold.algorithms.algorithm import Algorithm
from unfold.denoisers.nonexpansive import NonexpansiveResNet
from unfold.fidelities.l2 import L2
from unfold.initialization import BackProjection, Start
from unfold.models.model import Model
from unfold.parameters.select import Trainable
from unfold.physics.blur.convolution import CircularConvolution
from unfold.physics.inpainting import Mask
from unfold.physics.operator import Operator
from unfold.priors.denoiser_priors import PnP
from unfold.priors.prior import Prior
from unfold.priors.tikhonov import Tikhonov
from unfold.problem import Problem, make_problem
from unfold.pytree import tensors, with_tensors
from unfold.reconstructor import Reconstructor
from unfold.solvers.acceleration import Anderson
from unfold.solvers.fixed_point import pack, unpack
from unfold.solvers.result import Stopping

DOUBLE = torch.float64


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = DOUBLE) -> Tensor:
    """Gaussian numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    """Images in [0, 1]."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def blur(size: int = 8, *, batch: int = 1, gain: float = 1.0, seed: int = 3) -> CircularConvolution:
    """A blur of its own for each of `batch` images: ‖A‖ = gain, and ‖A⁻¹‖ < 2.5 / gain."""
    h = uniform(batch, 1, 3, 3, seed=seed)
    h = 0.3 * h / h.sum((-2, -1), keepdim=True)
    h[..., 1, 1] += 0.7
    return CircularConvolution(gain * h, (1, size, size))


def inpainting(size: int = 4) -> Mask:
    """Every third pixel is missing; ‖A‖ = 1."""
    return Mask((torch.arange(size * size) % 3 != 0).to(DOUBLE).reshape(1, 1, size, size))


def measured(operator: Operator, *, batch: int = 1, noise: float = 0.05, seed: int = 5) -> Tensor:
    """y = Ax + noise, of images in [0, 1]."""
    y = operator.A(uniform(batch, *operator.image_shape, seed=seed))
    return y + noise * normal(*y.shape, seed=seed + 1)


def problem(
    operator: Operator,
    prior: Prior,
    *,
    batch: int = 1,
    noise: float = 0.05,
    y: Tensor | None = None,
) -> Problem:
    """½‖Ax − y‖² + λg, started from A*y."""
    if y is None:
        y = measured(operator, batch=batch, noise=noise)
    return make_problem(L2(), operator, y, prior)


def run(algorithm: Algorithm[Any], problem: Problem, steps: int) -> Any:
    """The state after so many plain steps from the algorithm's own start."""
    state = algorithm.init(problem)
    for _ in range(steps):
        state = algorithm.step(state, problem)
    return state


def iterate(algorithm: Algorithm[Any], problem: Problem, steps: int) -> Tensor:
    """The image after so many plain steps."""
    return algorithm.image(run(algorithm, problem, steps))


def difference(a: Tensor, b: Tensor) -> float:
    """max|a − b| / max|b|."""
    scale = float(b.detach().abs().max()) or 1.0
    return float((a - b).detach().abs().max()) / scale


def least_squares(operator: Operator, y: Tensor, lam: float) -> Tensor:
    """argmin ½‖Ax − y‖² + λ/2 ‖x‖² of one image, by a dense factorisation."""
    n = operator.image_shape[0] * operator.image_shape[1] * operator.image_shape[2]
    A = operator.A(torch.eye(n, dtype=DOUBLE).reshape(n, *operator.image_shape)).flatten(1).mT
    x = torch.linalg.solve(A.mT @ A + lam * torch.eye(n, dtype=DOUBLE), A.mT @ y.flatten())
    return x.reshape(1, *operator.image_shape)


def network_prior(*, depth: int = 3, width: int = 4, c: float = 0.9, seed: int = 0) -> PnP:
    """A small firmly nonexpansive network with weights that matter."""
    torch.manual_seed(seed)
    denoiser = NonexpansiveResNet(1, depth, width, c).double()
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return PnP(Fixed(denoiser))


class Fixed(NonexpansiveResNet):
    """A network that is its own form for equilibria, so that a test may choose its weights."""

    def __init__(self, network: NonexpansiveResNet) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(network.__dict__)


def reconstructor(
    algorithm: Algorithm[Any],
    model: Model,
    prior: Prior | None = None,
    start: Start | None = None,
    **trainable: Any,
) -> Reconstructor:
    """In float64, with least squares."""
    start = start or BackProjection()  # as the plain iterations of the tests start
    net = Reconstructor(algorithm, prior or Tikhonov(), L2(), model, start, Trainable(**trainable))
    return net.double()


def learned(net: nn.Module) -> list[nn.Parameter]:
    """Everything with a gradient."""
    return [p for p in net.parameters() if p.requires_grad]


def weighted_loss(image: Tensor, scale: float = 1.0) -> Tensor:
    """A loss without symmetry."""
    return scale * (image * normal(*image.shape, seed=11) + 0.5 * image.square()).sum()


def equilibrium(net: Reconstructor, y: Tensor, operator: Operator) -> Any:
    """The fixed point of the plain step, to rounding: its defect is looked at here."""
    with torch.no_grad():
        algorithm, at = net.steps(y, operator).at(0)
        start = algorithm.init(at)

        def T(z: Tensor) -> Tensor:
            return pack(algorithm.step(unpack(z, start), at))

        end = Anderson().solve(T, pack(start), Stopping(tol=1e-15, max_iterations=400))
        assert (T(end.image) - end.image).abs().max() < 1e-13
    return unpack(end.image, start)


def jacobian(net: Reconstructor, y: Tensor, operator: Operator, state: Any) -> Tensor:
    """J of the packed step at a state of one image, column by column."""
    steps = net.steps(y.detach(), operator)

    def flat(z: Tensor) -> Tensor:
        return pack(steps.step(0, unpack(z[None], state)))[0]

    result: Tensor = torch.autograd.functional.jacobian(flat, pack(state)[0])
    return result


def dense_gradients(
    net: Reconstructor, y: Tensor, operator: Operator, at: list[Tensor]
) -> tuple[list[Tensor], float]:
    """The implicit gradients by a dense solve of (I − Jᵀ)w = v, and the spectral radius of J."""
    state = equilibrium(net, y, operator)
    J = jacobian(net, y, operator, state)
    leaves = [t.clone().requires_grad_() for t in tensors(state)]
    algorithm, _ = net.steps(y, operator).at(0)
    loss = weighted_loss(algorithm.image(with_tensors(state, leaves)))
    grads = torch.autograd.grad(loss, leaves, allow_unused=True)
    parts = [torch.zeros_like(t) if g is None else g for g, t in zip(grads, leaves, strict=True)]
    v = pack(tuple(parts))[0]
    w = torch.linalg.solve(torch.eye(len(v), dtype=DOUBLE) - J.mT, v)
    end = pack(net.steps(y, operator).step(0, state))[0]
    found = torch.autograd.grad(end, at, w, allow_unused=True)
    radius = float(torch.linalg.eigvals(J).abs().max())
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, at, strict=True)], radius
