"""The learned primal–dual network."""

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.init import xavier_uniform_

from unfold.algorithms.algorithm import LearnedAlgorithm
from unfold.denoisers.dncnn import chain, last
from unfold.errors import ConfigError, ShapeError
from unfold.parameters.declare import expect_sizes
from unfold.parameters.networks import Each, Network
from unfold.problem import Problem
from unfold.typing import Field, Image, Measurement


class UpdateBlock(Network):
    """Convolutions of a memory of N fields and of what else the update takes.

    Args:
        depth: 3×3 convolutions, at least 2.
        width: features between them.
    """

    extra: ClassVar[int]
    least_memory: ClassVar[int] = 1

    def __init__(self, channels: int = 1, memory: int = 5, depth: int = 3, width: int = 32) -> None:
        name = type(self).__name__
        expect_sizes(name, channels, depth, width)
        if memory < self.least_memory:
            raise ConfigError(f"{name}.memory = {memory}: must be at least {self.least_memory}.")
        super().__init__()
        self.channels, self.memory = channels, memory
        self.layers = _chain((memory + self.extra) * channels, memory * channels, depth, width)

    def forward(self, *fields: Tensor) -> Tensor:
        """(B, NC, H, W), from the fields joined along the channels; of complex ones all parts."""
        joined = torch.cat(fields, dim=1)
        if joined.is_complex():
            return torch.complex(*self.layers(torch.cat((joined.real, joined.imag), 1)).chunk(2, 1))
        increment: Tensor = self.layers(joined)
        return increment


class PrimalBlock(UpdateBlock):
    """P(x, A*u₁): what is added to the memory of images.

    Args:
        channels: C of an image; 2C of a complex one, all real parts before the imaginary ones.
        memory: N, how many images are remembered; the first is read out.

    Source: Adler and Öktem, Learned primal-dual reconstruction, TMI 37 (2018), section III-C.
    """

    extra, least_memory = 1, 2


class DualBlock(UpdateBlock):
    """D(u, Ax₂, y): what is added to the memory of measurements.

    Args:
        channels: of a measurement, which must be (B, channels, H, W), or (B, C, J, H, W) of
            C · J = channels; twice that of a complex one.
        memory: N, how many measurements are remembered; the first is projected back.

    Source: Adler and Öktem, Learned primal-dual reconstruction, TMI 37 (2018), section III-C.
    """

    extra = 2


class LearnedPrimalDualState(NamedTuple):
    """The memories: N images and N dual variables, along the channels.

    x: (B, NC, H, W).
    u: (B, NC, H, W), with the C of a measurement, which is C · J of J coils.
    """

    x: Field
    u: Field


@dataclass(frozen=True)
class LearnedPrimalDual(LearnedAlgorithm[LearnedPrimalDualState]):
    """Learned primal–dual reconstruction: networks replace both proximal operators.

    u⁺ = u + D_k(u, Ax₂, y);  x⁺ = x + P_k(x, A*u₁⁺);  x₁ is read out.

    There is no place for a fidelity or a prior. With `untied=["algo.*"]` each iteration has its own
    networks, as in the paper; tied, one pair serves all iterations.

    Args:
        primal: P, or the P_k where `algo.primal` is untied.
        dual: D, or the D_k where `algo.dual` is untied.

    Raises:
        ShapeError: images or measurements do not have the channels of the networks.

    Source: Adler and Öktem, Learned primal-dual reconstruction, TMI 37 (2018), algorithm 3. All
    images of the memory start from x₀ instead of 0, so that the networks begin near an answer.
    """

    primal: Each[PrimalBlock] = field(default_factory=PrimalBlock)
    dual: Each[DualBlock] = field(default_factory=DualBlock)

    def init(self, problem: Problem) -> LearnedPrimalDualState:
        x, y = problem.start, _joined(problem.y)
        expect_channels("LearnedPrimalDual.primal", "images", self.primal.channels, x)
        expect_channels("LearnedPrimalDual.dual", "measurements", self.dual.channels, y)
        u = torch.zeros_like(y).repeat(1, self.dual.memory, 1, 1)
        return LearnedPrimalDualState(x.repeat(1, self.primal.memory, 1, 1), u)

    def step(self, state: LearnedPrimalDualState, problem: Problem) -> LearnedPrimalDualState:
        second = state.x.chunk(self.primal.memory, 1)[1]
        u = state.u + self.dual(state.u, _joined(problem.A(second)), _joined(problem.y))
        first = u.chunk(self.dual.memory, 1)[0].reshape(problem.y.shape)
        x = state.x + self.primal(state.x, problem.A_adjoint(first))
        return LearnedPrimalDualState(x, u)

    def image(self, state: LearnedPrimalDualState) -> Image:
        return state.x.chunk(self.primal.memory, 1)[0]


def expect_channels(block: str, what: str, channels: int, t: Image | Measurement) -> None:
    """Refuse images or measurements that a block of an algorithm, CLASS.FIELD, does not take."""
    needed = t.shape[1] * (1 + t.is_complex())
    if t.ndim != 4 or needed != channels:
        raise ShapeError(
            f"{block} expects {what} of (batch, {channels}, height, width), got "
            f"{tuple(t.shape)}{' of complex numbers' if t.is_complex() else ''}; set "
            f"{block}.channels={needed if t.ndim == 4 else '…'}."
        )


def _joined(y: Measurement) -> Field:
    """The fields of several coils as so many channels."""
    return y.flatten(1, -3) if y.ndim > 4 else y


def _chain(inputs: int, outputs: int, depth: int, width: int) -> nn.Sequential:
    """3×3 convolutions with PReLU between them; the last starts small, near x₀."""
    network = chain(inputs, outputs, depth, width, partial(nn.PReLU, width), xavier_uniform_)
    # Not at zero: every layer before it would get no gradient from the first batch.
    xavier_uniform_(last(network).weight, gain=1e-2)
    return network
