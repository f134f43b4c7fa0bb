"""Learned gradient descent."""

from dataclasses import dataclass, field
from typing import NamedTuple

from unfold.algorithms.algorithm import LearnedAlgorithm
from unfold.algorithms.learned_primal_dual import UpdateBlock, expect_channels
from unfold.parameters.networks import Each
from unfold.problem import Problem
from unfold.typing import Field, Image


class GradientBlock(UpdateBlock):
    """P(x, ∇f(x₁)): what is added to the memory of images.

    Args:
        channels: C of an image; 2C of a complex one, all real parts before the imaginary ones.
        memory: N, how many images are remembered; the first is read out.
    """

    extra = 1


class LearnedGradientState(NamedTuple):
    """The memory.

    x: N images along the channels, (B, NC, H, W).
    """

    x: Field


@dataclass(frozen=True)
class LearnedGradient(LearnedAlgorithm[LearnedGradientState]):
    """Learned gradient descent: a network makes the update from the gradient of f.

    x⁺ = x + P_k(x, ∇f(x₁)); x₁ is read out.

    With f = ½‖A· − y‖² the gradient is A*(Ax₁ − y): for independent networks per iteration,
    `untied=["algo.*"]`, it is the learned primal of Adler and Öktem. No prior reaches the result.

    Args:
        block: P, or the P_k where `algo.block` is untied.

    Source: Adler and Öktem, Solving ill-posed inverse problems using iterative deep neural
    networks, Inverse Problems 33 (2017), algorithm 2, without the gradient of a regulariser; and
    Learned primal-dual reconstruction, TMI 37 (2018), section III-B, for the learned primal.
    """

    needs_f = frozenset({"grad"})
    takes_nonlinear = True

    block: Each[GradientBlock] = field(default_factory=GradientBlock)

    def init(self, problem: Problem) -> LearnedGradientState:
        expect_channels("LearnedGradient.block", "images", self.block.channels, problem.start)
        return LearnedGradientState(problem.start.repeat(1, self.block.memory, 1, 1))

    def step(self, state: LearnedGradientState, problem: Problem) -> LearnedGradientState:
        slope = problem.f.grad(self.image(state))
        return LearnedGradientState(state.x + self.block(state.x, slope))

    def image(self, state: LearnedGradientState) -> Image:
        return state.x.chunk(self.block.memory, 1)[0]
