"""Stages of a training: what is learned in each, how many iterations are used, how fast: `stages`.

Frozen dataclasses without PyTorch, as `settings`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from unfold.errors import ConfigError
from unfold.parameters.bounds import Declared, Range, bounded, inside, nonnegative, positive, whole

PLACES = Range(
    "all, last, or whole numbers from 1", lambda v: v in ("all", "last") or whole(1).holds(v)
)


@dataclass(frozen=True)
class Stage(Declared):
    """A part of a training, with an optimizer that starts anew and its own learning rates.

    The loss is that of the image after the iterations in use, and so is the validation. The
    scheduler runs from its start to its end in every stage.

    Args:
        steps: optimizer steps; the most of them where there is a patience.
        learn: globs on what is learned, of that which `trainable.learn` names.
        at: of what each iteration has separately, in which iterations it is learned, from 1.
        iterations: how many are in use; null for all.
        patience: validations in a row without a better objective that end the stage; the
            training continues with the last weights. null for none.
        lr: learning rates, by globs; of what no glob names, those of `trainable.lr` and optimizer.
        factor: of all learning rates.
        older: further factor of what iteration k of `iterations` n has separately, older^(n − k).
        denoising: σ, or its range: the network of the prior alone removes Gaussian noise from the
            images; null for the reconstruction.
    """

    steps: int = bounded(accepted=whole(1))
    learn: Sequence[str] = ("*",)
    at: Literal["all", "last"] | tuple[int, ...] = bounded("all", PLACES)
    iterations: int | None = bounded(None, whole(1))
    patience: int | None = bounded(None, whole(1), "in validations")
    lr: Mapping[str, float] = field(default_factory=dict)
    factor: float = bounded(1.0, positive)
    older: float = bounded(1.0, inside("(0, 1]"))
    denoising: float | tuple[float, float] | None = bounded(
        None, nonnegative, "in units of an image in [0, 1]", level=True
    )

    def places(self, count: int) -> range | tuple[int, ...]:
        """The iterations, from 1, of which something is learned where `count` are in use."""
        if self.at == "all":
            return range(1, count + 1)
        return (count,) if self.at == "last" else self.at


@dataclass(frozen=True)
class Stages(Declared, ABC):
    """The plan of a training."""

    @abstractmethod
    def of(self, iterations: int | None) -> tuple[Stage, ...]:
        """The stages of a model of so many iterations; none where all is trained together."""


@dataclass(frozen=True)
class Together(Stages):
    """Everything that is learned, at once, for `trainer.max_steps` steps."""

    def of(self, iterations: int | None) -> tuple[Stage, ...]:
        return ()


@dataclass(frozen=True)
class InOrder(Stages):
    """Stages one after the other.

    Args:
        stages: at least one.
    """

    stages: Sequence[Stage]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.stages:
            raise ConfigError("InOrder.stages = []: at least one stage is expected, {steps: 100}.")

    def of(self, iterations: int | None) -> tuple[Stage, ...]:
        return tuple(self.stages)


@dataclass(frozen=True)
class Greedy(Stages):
    """For t = 1 … K: iteration t alone, then all up to t, at lower and lower rates.

    What the iterations share is learned in every stage.

    Args:
        steps: of each stage of t = 1.
        proportional: whether those of t have t times as many.
        joint: factors of the learning rates, one for each stage of all iterations up to t.
        older: further factor of iteration k in a stage of t, to the power t − k.
        learn: globs on what is learned.
        lr: learning rates, by globs.
        patience: as that of a stage.

    Source: Chen, Liu, Wang and Yin, Theoretical linear convergence of unfolded ISTA and its
    practical weights and thresholds, NeurIPS 2018, appendix, with these factors.
    """

    steps: int = bounded(100, whole(1))
    proportional: bool = True
    joint: tuple[float, ...] = bounded((0.2, 0.02), positive)
    older: float = bounded(0.3, inside("(0, 1]"))
    learn: Sequence[str] = ("*",)
    lr: Mapping[str, float] = field(default_factory=dict)
    patience: int | None = bounded(None, whole(1), "in validations")

    def of(self, iterations: int | None) -> tuple[Stage, ...]:
        if iterations is None:
            raise ConfigError(
                "stages: Greedy trains one iteration after the other, and this model repeats one "
                "and the same step; use an unfolded model, or stages=list."
            )
        found = list[Stage]()
        for t in range(1, iterations + 1):
            steps = self.steps * (t if self.proportional else 1)
            alone = Stage(steps, self.learn, "last", t, self.patience, self.lr)
            joint = replace(alone, at="all", older=self.older)
            found += [alone, *(replace(joint, factor=factor) for factor in self.joint)]
        return tuple(found)
