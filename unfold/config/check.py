"""Check a composed configuration before anything is built; every mistake is listed at once."""

import re
from collections.abc import Iterable, Mapping, Sequence
from inspect import isclass
from typing import TYPE_CHECKING, Any, NamedTuple

from unfold.config.compose import Job
from unfold.config.errors import UNKNOWN, Problem, shown
from unfold.config.options import names, where
from unfold.config.overrides import key_of, unknown
from unfold.config.plan import Component
from unfold.config.schema import (
    GROUPS,
    NAMED,
    RECONSTRUCTOR,
    Settings,
    Trainable,
    ceiling,
    too_large,
)
from unfold.config.targets import is_foreign, resolve
from unfold.config.values import (
    SPECIAL,
    Mismatch,
    admits,
    arms_of,
    describe,
    is_count,
    parameters,
    read,
)
from unfold.errors import ConfigError, contract, listing
from unfold.runs.identity import is_chosen

if TYPE_CHECKING:
    from unfold.algorithms.algorithm import Algorithm
    from unfold.data.dataset import Data
    from unfold.evaluation.base import Evaluation
    from unfold.evaluation.metrics import ImageMetrics
    from unfold.fidelities.fidelity import Fidelity
    from unfold.initialization import Start
    from unfold.models.model import Model
    from unfold.physics.base import Physics
    from unfold.priors.prior import Prior
    from unfold.reconstructor import Reconstructor
    from unfold.training.losses import Loss
    from unfold.training.optim import Optimizer, Scheduler
    from unfold.training.settings import Log, TrainerSettings
    from unfold.training.stages import Stages


class Components(NamedTuple):
    """Everything that a run is made of: the object of each group, and what they make together.

    reconstructor: algorithm, prior, fidelity, model and start together.
    origins: a sentence for each denoiser on where its weights start.
    """

    algo: "Algorithm[Any]"
    prior: "Prior"
    physics: "Physics"
    fidelity: "Fidelity"
    model: "Model"
    start: "Start"
    data: "Data"
    loss: "Loss"
    optimizer: "Optimizer"
    scheduler: "Scheduler"
    stages: "Stages"
    trainer: "TrainerSettings"
    logger: "Log"
    metrics: "ImageMetrics"
    evaluation: "Evaluation"
    reconstructor: "Reconstructor"
    origins: tuple[str, ...] = ()


class Checked(NamedTuple):
    """A configuration in which every name and every type is right.

    groups: the plan of each group; None where it has a mistake.
    components: what was built of it; None where it is built later.
    """

    job: Job
    settings: Settings
    trainable: Trainable
    groups: Mapping[str, Any]
    components: Components | None = None


def check_job(job: Job, groups: Iterable[str] = GROUPS) -> tuple[Checked, list[Problem]]:
    """Check the keys, types and `_target_`s of some groups of a job; also returns the problems."""
    reader = _Reader(job, [])
    reader.top()
    scalars = {key: v for key, v in job.config.items() if key in Settings.__dataclass_fields__}
    settings = reader.record(Settings, scalars, "")
    trainable = reader.record(Trainable, job.config.get("trainable") or {}, "trainable")
    plans = {group: reader.group(group, GROUPS[group]) for group in groups}
    if groups and not reader.problems:
        reader.problems.extend(Problem(key, None, text) for key, text in too_large(job.config))
    return Checked(job, settings, trainable, plans), reader.problems


def check_component(
    node: Mapping[str, Any], base: str, path: str, job: Job
) -> tuple[Any, list[Problem]]:
    """The plan of one node outside of the groups, of a base class, and what is wrong with it."""
    reader = _Reader(job, [])
    return reader.value(node, resolve(base), path), reader.problems


def affected_groups(job: Job, *, together: bool) -> list[str]:
    """The groups that the command line changes; `together`: all of the reconstructor or none."""
    if len(job.folders) > 1 or any(is_chosen(job.choices, name) for name in NAMED):
        return list(GROUPS)
    named = {re.split(r"[./@]", key_of(text))[0] for text in job.overrides}
    if together and named & {*RECONSTRUCTOR, "trainable"}:
        named.update(RECONSTRUCTOR)
    return [group for group in GROUPS if group in named]


def _takes_networks(annotation: Any) -> bool:
    """Whether a denoiser is expected, which a plain network of the user can be."""
    names = {getattr(arm, "__name__", "") for arm in arms_of(annotation)}
    return "Denoiser" in names


class _Reader(NamedTuple):
    """The job being read, and the list to which its problems are added."""

    job: Job
    problems: list[Problem]

    def report(self, key: str, value: object, text: str) -> None:
        typed = any(key.startswith(key_of(text)) for text in self.job.overrides if "." in text)
        place = "" if typed else where(key, self.job.choices, self.job.folders)
        if value is UNKNOWN:  # reported already
            self.problems.append(Problem(key, None, ""))
            return
        given = None if isinstance(value, Mapping) else shown(value)
        self.problems.append(Problem(key, given, f"{text}{place}"))

    def top(self) -> None:
        """Refuse keys that are neither a setting nor a group, and trust from a file."""
        known = [*Settings.__dataclass_fields__, *GROUPS, "trainable"]
        for key, value in self.job.config.items():
            if key not in known:
                self.report(key, value, unknown(key, known, self.job.folders))
        given = self.job.config.get("trust") or []
        if isinstance(given, list) and set(map(str, given)) - set(self.job.trust):
            self.report("trust", given, "counts on the command line only, never in a file.")

    def record(self, kind: type, values: Any, path: str) -> Any:
        """A dataclass of plain values; its defaults where a value is wrong."""
        if not isinstance(values, Mapping):
            self.report(path, values, "a block of keys is expected.")
            return kind()
        try:
            return kind(**self.arguments(kind, values, path))
        except ConfigError as error:
            key, _, text = str(error).partition(": ")
            self.problems.append(Problem(key.removeprefix(f"{kind.__name__}."), None, text))
            return kind()

    def group(self, group: str, base: str) -> Any:
        """The plan of a group; None where it has a mistake."""
        node = self.job.config.get(group)
        if node is None:
            available = names(group, self.job.folders)
            self.problems.append(
                Problem(group, None, f"no option is chosen. Allowed: {listing(available)}.")
            )
            return None
        if not isinstance(node, Mapping):
            self.report(group, node, f"an option is expected. Write {group}=NAME.")
            return None
        if "_target_" not in node:
            self.report(group, node, "has no _target_: it names no component to build.")
            return None
        before = len(self.problems)
        plan = self.value(node, resolve(base), group)
        return plan if len(self.problems) == before else None

    def value(self, value: Any, annotation: Any, path: str) -> Any:
        numbers = value if isinstance(value, list) else [value]
        largest = max((n for n in numbers if type(n) in (int, float)), default=0)
        if largest > (most := ceiling(path, is_count=is_count(annotation))):
            self.report(path, largest, f"must be at most {most:g}.")
            return UNKNOWN
        if isinstance(value, str) and "." in value and _takes_networks(annotation):
            value = {"_target_": value}  # prior.denoiser=mine.Net
        try:
            return read(value, annotation, path, self.component)
        except Mismatch as mismatch:
            self.report(mismatch.path, mismatch.value, f"{mismatch.expected} is expected.")
            return UNKNOWN

    def component(self, node: Mapping[str, Any], annotation: Any, path: str) -> Any:
        """The plan of a node with a `_target_`."""
        target = node["_target_"]
        if not isinstance(target, str):
            self.report(f"{path}._target_", target, "a module path with a class name is expected.")
            return UNKNOWN
        try:
            found = resolve(target, self.job.trust)
        except ConfigError as error:
            self.report(f"{path}._target_", target, str(error))
            return UNKNOWN
        is_partial = node.get("_partial_", False) is True
        values = {key: value for key, value in node.items() if key not in SPECIAL}
        if is_foreign(target) and _takes_networks(annotation) and not admits(annotation, found):
            return self.adapted(found, values, path)
        if not admits(annotation, found, partial=is_partial, own=is_foreign(target)):
            if is_partial and admits(annotation, found, own=True):
                self.report(f"{path}._partial_", True, "no callable is expected. Leave it out.")
                return UNKNOWN
            own = f" ({contract(annotation)})" if is_foreign(target) and isclass(annotation) else ""
            raise Mismatch(describe(annotation) + own, path, found.__name__)
        return Component(path, found, self.arguments(found, values, path, is_partial), is_partial)

    def adapted(self, found: type, values: Mapping[str, Any], path: str) -> Component:
        """A plain network of the user as a denoiser, of the channels of the data."""
        from unfold.denoisers.adapted import ModuleDenoiser

        channels = self.job.config["data"]["channels"]
        own = {"channels": channels} if "channels" in parameters(found) else {}
        arguments = self.arguments(found, {**own, **values}, path)
        made = Component(path, found, arguments, partial=True)
        return Component(path, ModuleDenoiser, {"network": made, "channels": channels})

    def arguments(
        self, kind: type, values: Mapping[str, Any], path: str, is_partial: bool = False
    ) -> dict[str, Any]:
        """The arguments of a class, each read by its annotation; wrong ones are left out."""
        known = parameters(kind)
        dot = f"{path}." if path else ""
        for key in values:
            if key not in known:
                self.report(f"{dot}{key}", values[key], self.unknown(f"{dot}{key}", list(known)))
        if not is_partial:
            for name, parameter in known.items():
                if parameter.default is parameter.empty and name not in values:
                    text = f"must be given: {kind.__name__} needs it. Write {dot}{name}=VALUE."
                    self.problems.append(Problem(f"{dot}{name}", None, text))
        found = {
            key: self.value(value, known[key].annotation, f"{dot}{key}")
            for key, value in values.items()
            if key in known
        }
        return {key: value for key, value in found.items() if value is not UNKNOWN}

    def unknown(self, key: str, known: Sequence[str]) -> str:
        if key.rpartition(".")[2].startswith("_"):
            return f"is not supported. Allowed: {', '.join(SPECIAL)} and arguments by name."
        return unknown(key, known, self.job.folders)
