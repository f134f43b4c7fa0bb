"""From a checked configuration to objects, one function for each part of a run."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from unfold.config.check import Checked, inspect_job, touched
from unfold.config.compose import Composed, Job
from unfold.config.errors import Problem, as_problem, refuse
from unfold.config.options import in_options
from unfold.config.plan import instantiate
from unfold.config.schema import GROUPS, RECONSTRUCTOR
from unfold.config.weights import start_networks
from unfold.errors import ConfigError, IncompatibleError, listing, nearest

if TYPE_CHECKING:
    from unfold.physics.base import Physics
    from unfold.reconstructor import Reconstructor
    from unfold.training.settings import Log, TrainerSettings


SEEDED = ("algo", "prior", "model", "loss")
"""The groups that may hold networks."""


class Parts(NamedTuple):
    """Everything that a run is made of, built once.

    groups: the object, or block of objects, of each group.
    reconstructor: the algorithm, prior, fidelity and model together.
    """

    groups: Mapping[str, Any]
    reconstructor: "Reconstructor"

    @property
    def physics(self) -> "Physics":
        """The law of the operators trained on."""
        physics: Physics = self.groups["physics"]
        return physics

    @property
    def trainer(self) -> "TrainerSettings":
        """How long and on what it is trained."""
        trainer: TrainerSettings = self.groups["trainer"]
        return trainer

    @property
    def log(self) -> "Log":
        """Where the curves go."""
        log: Log = self.groups["logger"]
        return log

    @property
    def data(self) -> Any:
        """The images."""
        return self.groups["data"]

    @property
    def metrics(self) -> Any:
        """What is measured of each image."""
        return self.groups["metrics"]

    @property
    def evaluation(self) -> Any:
        """What is measured at the end."""
        return self.groups["evaluation"]


def verify(composed: Composed) -> list[Checked]:
    """Check and build every job once, so that no mistake is found after hours.

    The groups that the user's words touch come first: the others are as they were shipped, and
    importing what they name takes seconds that a mistake need not wait for.

    Raises:
        ConfigError: lists all mistakes of all jobs, each once.
    """
    problems = list(composed.problems)
    for job in composed.jobs:
        problems += _examine(job, touched(job, whole=not composed.problems))[1]
    refuse(problems)
    found = [_examine(job, tuple(GROUPS)) for job in composed.jobs]
    refuse([problem for _, mistakes in found for problem in mistakes])
    if not found:
        raise ConfigError("There is no job to run. Name one value in the sweep.")
    return [checked for checked, _ in found]


def _examine(job: Job, groups: Sequence[str]) -> tuple[Checked, list[Problem]]:
    checked, problems = inspect_job(job, groups)
    return checked, [*problems, *_refusals(checked)]


def _refusals(checked: Checked) -> list[Problem]:
    """What the constructors refuse, of the groups that are right so far."""
    problems: list[Problem] = []
    names = [name for name, plan in checked.groups.items() if plan is not None]
    groups = {name: _build_group(checked, name, problems) for name in names}
    found = {name: group for name, group in groups.items() if group is not None}
    checks: list[Callable[[], object]] = []
    if not problems and set(RECONSTRUCTOR) <= set(groups):
        checks.append(lambda: build_reconstructor(checked, groups))
    if {"trainer", "data"} <= set(found):
        checks.append(lambda: found["trainer"].parts(found["data"].batch_size))
    if {"trainer", "model"} <= set(found):
        checks.append(lambda: found["trainer"].check_model(found["model"]))
    for check in checks:
        try:
            with option_names(checked, found):
                check()
        except ConfigError as error:
            problems.append(as_problem(error))
    if groups.get("metrics") is not None:
        problems += _objective(checked.settings.objective, groups["metrics"].all_names)
    return problems


@contextmanager
def option_names(checked: Checked, groups: Mapping[str, Any]) -> Iterator[None]:
    """Errors of components name options: `TrainerSettings.devices = 3` becomes `trainer.devices`.

    Args:
        checked: the configuration.
        groups: the components, by group.
    """
    try:
        yield
    except IncompatibleError as error:
        named = in_options(error, checked.job.choices, checked.job.folders)
        raise ConfigError(_with_group(str(named), groups)) from error
    except ConfigError as error:
        raise type(error)(_with_group(str(error), groups)) from error


def _with_group(text: str, groups: Mapping[str, Any]) -> str:
    owner, dot, rest = text.partition(".")
    for name, component in groups.items():
        if dot and type(component).__name__ == owner:
            return f"{name}.{rest}"
    return text


def _objective(objective: str, names: Sequence[str]) -> list[Problem]:
    """The objective must be measured, or it would be missed after the first epoch."""
    allowed = [f"validation/{name}" for name in (*names, "loss")]
    if objective in allowed:
        return []
    near = nearest(objective, allowed)
    text = f"is not measured{near} Allowed: {listing(allowed)}."
    return [Problem("objective", objective, text)]


def build(checked: Checked) -> Parts:
    """Build every group and the reconstructor.

    Raises:
        ConfigError: lists every value that a constructor refuses.
        UnfoldError: an error that is no matter of configuration, such as unreadable weights.
    """
    groups = build_groups(checked, list(checked.groups))
    return Parts(groups, build_reconstructor(checked, groups))


def build_groups(checked: Checked, names: Sequence[str]) -> dict[str, Any]:
    """Build some groups.

    Raises:
        ConfigError: lists every value that a constructor refuses.
    """
    problems: list[Problem] = []
    groups = {name: _build_group(checked, name, problems) for name in names}
    refuse(problems)
    return groups


def _build_group(checked: Checked, name: str, problems: list[Problem]) -> Any:
    if name in SEEDED:
        seed_networks(checked.settings.seed, name)
    try:
        return instantiate(checked.groups[name])
    except ConfigError as error:
        problems.append(as_problem(error))
        return None


def build_physics(checked: Checked) -> "Physics":
    """The law of the operators trained on."""
    physics: Physics = build_groups(checked, ["physics"])["physics"]
    return physics


def build_data(checked: Checked) -> Any:
    """The data module."""
    return build_groups(checked, ["data"])["data"]


def build_reconstructor(
    checked: Checked, groups: Mapping[str, Any] | None = None
) -> "Reconstructor":
    """The algorithm, prior, fidelity and model, with what is learned of them.

    Args:
        checked: the configuration.
        groups: objects that are built already; they are built here where it is None.

    Raises:
        ConfigError: the parts do not fit each other, or `trainable` names what does not exist.
    """
    from unfold.reconstructor import Reconstructor

    built = build_groups(checked, RECONSTRUCTOR) if groups is None else groups
    trainable = checked.trainable
    seed_networks(checked.settings.seed, "reconstructor")
    reconstructor = Reconstructor(
        *(built[name] for name in RECONSTRUCTOR),
        learn=trainable.learn,
        untied=trainable.untied,
        constrain=trainable.constrain,
        relative=trainable.relative,
    )
    reconstructor.half_precision = checked.job.config["trainer"]["precision"] == "bf16"
    start_networks(checked, reconstructor)
    if trainable.lr or trainable.freeze:
        from unfold.training.optim import by_learning_rate, frozen

        by_learning_rate(reconstructor, trainable.lr)
        frozen(reconstructor, trainable.freeze)
    return reconstructor


def build_training(checked: Checked, parts: Parts) -> Any:
    """The LightningModule that measures, reconstructs and compares."""
    from unfold.training.module import Training

    groups, settings = parts.groups, checked.settings
    return Training(
        reconstructor=parts.reconstructor,
        physics=groups["physics"],
        loss=groups["loss"],
        optimizer=groups["optimizer"],
        scheduler=groups["scheduler"],
        metrics=groups["metrics"],
        seed=settings.seed,
        strict=settings.strict,
        log_every=groups["trainer"].log_every,
        lr=checked.trainable.lr,
        freeze=checked.trainable.freeze,
        shards=groups["trainer"].parts(groups["data"].batch_size),
        guard=groups["trainer"].guard(),
    )


def seed_networks(seed: int, purpose: str) -> None:
    """Seed what draws the initial weights: PyTorch's own generator, which layers cannot be told.

    All bits of the seed count, though the generator keeps 32 of what it is given.
    """
    import torch

    digest = hashlib.blake2b(repr((seed, "weights", purpose)).encode(), digest_size=4).digest()
    torch.manual_seed(int.from_bytes(digest, "little"))
