"""The keys outside components: the scalars at the top, `trainable`, and the groups."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unfold.arrays import expect_room
from unfold.errors import ConfigError
from unfold.parameters.bounds import Declared, bounded, whole
from unfold.runs.catalogue import flat
from unfold.runs.files import SCHEMA_VERSION

NAME = re.compile(r"[A-Za-z0-9._-]{1,80}")
"""What a run may be called."""

GROUPS: Mapping[str, str] = {
    "algo": "unfold.algorithms.algorithm.Algorithm",
    "prior": "unfold.priors.prior.Prior",
    "physics": "unfold.physics.base.Physics",
    "fidelity": "unfold.fidelities.fidelity.Fidelity",
    "model": "unfold.models.model.Model",
    "start": "unfold.initialization.Start",
    "data": "unfold.data.dataset.Data",
    "loss": "unfold.training.losses.Loss",
    "optimizer": "unfold.training.optim.Optimizer",
    "scheduler": "unfold.training.optim.Scheduler",
    "stages": "unfold.training.stages.Stages",
    "trainer": "unfold.training.settings.TrainerSettings",
    "logger": "unfold.training.settings.Log",
    "metrics": "unfold.evaluation.metrics.ImageMetrics",
    "evaluation": "unfold.evaluation.base.Evaluation",
}
"""The groups that are built, and the class that every option of a group is of."""

RECONSTRUCTOR = ("algo", "prior", "fidelity", "model", "start")
"""The groups that make the reconstructor, in the order of its arguments."""

NAMED = ("architecture", "experiment")
"""Presets of one run: a network of the literature, and a way to train."""

PRESETS = (*NAMED, "sweep")
"""Groups that set keys of the others and have no key of their own."""

CEILINGS = (
    (r"(.*\.)?seed", 2.0**64),
    (r"trainer\.(.*_every|.*_limit|max_.*|early_.*|validate_.*)|scheduler\..*", 1e9),
    (r"trainable\..*|stages\..*|(.*\.)?max_iterations", 1e9),
    (r"trainer\..*|data\.workers|hydra\.launcher\.(gpus|cpus)", 1024),
    (r"hydra\.launcher\..*|data\..*", 100_000),
    (r"physics\.(.*\.)?(shape|detectors)", 65_536),
    (r"evaluation\..*|model\..*", 10_000),
    (r".*", 2048),
)
"""The largest count that a key takes: a larger one is a typo that would fill a machine."""

RATIOS = re.compile(r"physics\..*\b(ratio|oversampling|turns)")
"""Numbers, not whole, by which the size of a measurement is multiplied."""


def ceiling(key: str, *, is_count: bool) -> float:
    """The largest number that a key takes; infinite where it is no size."""
    if not is_count:
        return 64.0 if RATIOS.fullmatch(key) else math.inf
    return float(next(most for pattern, most in CEILINGS if re.fullmatch(pattern, key)))


PRODUCTS: Sequence[tuple[str, Mapping[str, int], int]] = (
    ("a batch is measured", {"batch_size": 1, "crop": 2, "coils": 1, "codes": 1}, 32),
    ("lines are integrated", {"angles": 1, "detectors": 1, "crop": 1}, 24),
    ("samples are taken", {"spokes": 1, "arms": 1, "coils": 1, "crop": 1, "batch_size": 1}, 32),
    ("a network is trained", {"width": 2, "depth": 1, "iterations": 1}, 9 * 16),
)
"""Counts that are allocated together: when, the power of each by its name, bytes for each unit."""


def too_large(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The counts of which the product takes more than the free memory: a key, and why.

    Counts of a component are multiplied with those of the components that it is in, of `data`, and
    with `model.iterations` where each iteration has its own networks.
    """
    counts = {tuple(k.split(".")): n for k, n in flat(config).items() if type(n) is int and n > 1}
    if not dict(config.get("trainable") or {}).get("untied"):
        counts.pop(("model", "iterations"), None)
    for place in {key[:-1] for key in counts}:
        for when, powers, unit in PRODUCTS:
            homes = [("data",), ("model",)] + [place[:depth] for depth in range(len(place) + 1)]
            found = [(*home, name) for home in homes for name in powers if (*home, name) in counts]
            kept = {key[-1]: key for key in found}.values()  # of one name, the nearest
            try:
                expect_room(unit * math.prod(counts[key] ** powers[key[-1]] for key in kept))
            except ValueError as error:
                shown = ", ".join(f"{'.'.join(key)} = {counts[key]}" for key in kept)
                yield shown.partition(" ")[0], f"where {when}, {error}: {shown}. Lower one of them."


@dataclass(frozen=True)
class Settings(Declared):
    """The scalars at the top of `train.yaml`, which explains each of them."""

    seed: int = bounded(0, whole(0))
    name: str | None = None
    objective: str = "validation/psnr"
    strict: bool = False
    rerun: bool = False
    accept_code: bool = False
    trust: tuple[str, ...] = ()
    runs_dir: str = "runs"
    init_from: str | None = None
    map: str | None = None
    extend: str | None = None
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name is not None and not (NAME.fullmatch(self.name) and self.name.strip(".")):
            raise ConfigError(
                f"name = {self.name}: must be 1 to 80 letters, digits, '.', '_' or '-', "
                "and not dots alone, because it becomes part of a folder's name."
            )
        if self.schema_version != SCHEMA_VERSION:
            raise ConfigError(
                f"schema_version = {self.schema_version}: this version of unfold reads "
                f"{SCHEMA_VERSION}; compose the configuration again."
            )


@dataclass(frozen=True)
class Trainable:
    """What is learned, and how, as `trainable/default.yaml` explains; globs on config paths."""

    learn: Sequence[str] = ()
    untied: Sequence[str] = ()
    constrain: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    condition: Mapping[str, Sequence[str]] = field(default_factory=dict)
    relative: Sequence[str] = ()
    widen: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    noise_relative: Sequence[str] = ()
    lr: Mapping[str, float] = field(default_factory=dict)
    freeze: Mapping[str, int] = field(default_factory=dict)
