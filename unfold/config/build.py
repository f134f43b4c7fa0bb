"""From a checked configuration to objects: each is built once."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from unfold.config.check import Checked, Components, affected_groups, check_job
from unfold.config.compose import Composed, Job, compose
from unfold.config.errors import Problem, as_problem, refuse
from unfold.config.naming import option_names
from unfold.config.overrides import key_of
from unfold.config.plan import instantiate
from unfold.config.schema import GROUPS, RECONSTRUCTOR
from unfold.config.weights import start_networks
from unfold.errors import ConfigError

if TYPE_CHECKING:
    from unfold.reconstructor import Reconstructor
    from unfold.training.module import Training


SEEDED = ("algo", "prior", "model", "loss")
"""The groups that may hold networks."""


def verify(composed: Composed) -> list[Checked]:
    """Check every job and build its components, so that a mistake is found before any job starts.

    The groups that the overrides affect come first: the others are as shipped, and importing what
    they name takes seconds that a typo need not wait for. A single job keeps what is built here;
    the jobs of a sweep build their own components when they start.

    Raises:
        ConfigError: lists all mistakes of all jobs, each once.
    """
    if not composed.jobs:
        refuse(composed.problems)
        raise ConfigError("There is no job to run. Name one value in the sweep.")
    several = len(composed.jobs) > 1
    built = [_Build(job) for job in composed.jobs]
    problems = list(composed.problems)
    given = (job.config.get("extend") for job in composed.jobs if not composed.extends)
    text = "counts as an override of one training only. Write unfold train extend=RUN."
    problems += [Problem("extend", str(run), text) for run in given if run is not None]
    for every_group in (False, True):
        for one in built:
            affected = affected_groups(one.job, together=not problems)
            one.examine(GROUPS if every_group else affected)
            if several:
                one.release()
        refuse([*problems, *(problem for one in built for problem in one.problems)])
    return [one.checked for one in built]


def configure(arguments: Sequence[str], command: str = "build") -> Checked:
    """The one configuration that the arguments of a command compose, with its components.

    Raises:
        ConfigError: any mistake in it, or a sweep.
    """
    (checked, *more) = verify(compose(arguments))
    if more:
        raise ConfigError(f"unfold {command} takes one configuration, got {1 + len(more)}.")
    return checked


def build(checked: Checked) -> Components:
    """Build every group and the reconstructor anew; refuses as `verify` does."""
    one = _Build(checked.job)
    one.examine(GROUPS)
    refuse(one.problems)
    assert one.checked.components is not None
    return one.checked.components


def components_of(checked: Checked) -> Components:
    """What `verify` built of a single job, or what is built now."""
    return checked.components or build(checked)


def build_group(checked: Checked, name: str) -> Any:
    """Build one group, which need not fit the others."""
    one = _Build(checked.job)
    one.examine((name,))
    refuse(one.problems)
    return one.objects[name]


class _Build:
    """The objects of one job as they are built, and what is wrong with it so far."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.problems: list[Problem] = []
        self.objects: dict[str, Any] = {}
        self.checked: Checked

    def examine(self, groups: Iterable[str]) -> None:
        """Check some groups, and build those of them that are not built yet."""
        checked, problems = check_job(self.job, groups)
        self.checked, self.problems = checked, problems
        for name in groups:
            if checked.groups[name] is not None and name not in self.objects:
                self._try(name, lambda name=name: self._group(name))
        built = self.objects
        operators = any(name.startswith("physics.") for name in checked.trainable.learn)
        operators = operators or hasattr(self.objects.get("start"), "of")
        needed = {*RECONSTRUCTOR, *(("physics", "data") if operators else ())}
        if not problems and needed <= set(built) and "reconstructor" not in built:
            self._try("reconstructor", self._reconstructor)
        if {"trainer", "data"} <= set(built):
            self._try("", lambda: built["trainer"].parts(built["data"].batch_size))
        if {"stages", "trainer", "loss", "physics", "optimizer", "reconstructor"} <= set(built):
            self._try("", self._stages)
        if {"trainer", "model"} <= set(built):
            self._try("", lambda: built["trainer"].check_model(built["model"]))
        if "metrics" in built:
            from unfold.evaluation.metrics import objective_mode

            names, extra = built["metrics"].all_names, built["metrics"].extra
            self._try("", lambda: objective_mode(checked.settings.objective, names, extra))
        if not problems and {*GROUPS, "reconstructor"} <= set(built):
            self.checked = checked._replace(components=Components(**built))

    def release(self) -> None:
        """Keep nothing that was built: the job builds it again when it starts."""
        self.objects.clear()
        self.checked = self.checked._replace(components=None)

    def _try(self, name: str, make: Any) -> None:
        try:
            with option_names(self.checked):
                found = make()
        except ConfigError as error:
            self.problems.append(as_problem(error))
        else:
            self.objects |= {name: found} if name else {}

    def _group(self, name: str) -> Any:
        if name in SEEDED:
            seed_networks(self.checked.settings.seed, name)
        return instantiate(self.checked.groups[name])

    def _stages(self) -> None:
        """Check what is learned in each stage, and train as long as all of them."""
        net, built, lr = self.objects["reconstructor"], self.objects, self.checked.trainable.lr
        plan = built["stages"].of(net.model.count) if net.model.trains else ()
        if not plan:
            return
        from unfold.training.course import moves_of  # it imports Lightning

        moves_of(plan, net, lr, built["optimizer"].lr)
        for one in plan:
            if one.iterations is not None:
                model = replace(net.model, iterations=one.iterations)
                built["loss"].check(built["physics"], model)
        typed = {key_of(text) for text in self.job.overrides}
        built["trainer"] = built["trainer"].of_stages(
            sum(one.steps for one in plan), given="trainer.max_steps" in typed
        )

    def _reconstructor(self) -> "Reconstructor":
        """The algorithm, prior, fidelity, model and start, with what is learned of them."""
        from unfold.initialization import FittedLinear
        from unfold.parameters.select import Trainable
        from unfold.random import Draws
        from unfold.reconstructor import Reconstructor, learn_physics

        trainable = self.checked.trainable
        seed_networks(self.checked.settings.seed, "reconstructor")
        algorithm, prior, fidelity, model, start = (self.objects[name] for name in RECONSTRUCTOR)
        kept = (f.name for f in fields(Trainable))
        chosen = Trainable(**{name: getattr(trainable, name) for name in kept})
        # Before the iterations copy the networks, and the equilibrium measures them.
        if isinstance(start, FittedLinear):
            x = self.objects["data"].sketch(draws := Draws(self.checked.settings.seed, (0,)))
            physics = self.objects["physics"]
            A = physics.given(x).measure(x, draws)[1]
            start = start.of(A, same=physics.is_deterministic)
        why_not = "" if chosen.learn else "trainable.learn=[]"
        why_not = why_not if model.trains else "model=classical"
        self.objects["origins"] = start_networks(self.checked, prior, why_not)
        reconstructor = Reconstructor(
            algorithm,
            prior,
            fidelity,
            model,
            start,
            chosen.of("physics", others=True),
            strict=self.checked.settings.strict,
        )
        reconstructor.half_precision = self.job.config["trainer"]["precision"] == "bf16"
        if (operators := chosen.of("physics")).learn and model.trains:
            simulates = not self.objects["data"].measured
            found = learn_physics(self.objects["physics"], operators, simulates=simulates)
            self.objects["physics"], reconstructor.physics = found
        if trainable.lr or trainable.freeze:
            from unfold.training.optim import by_learning_rate, frozen

            by_learning_rate(reconstructor, trainable.lr)
            frozen(reconstructor, trainable.freeze)
        return reconstructor


def build_training(checked: Checked, components: Components) -> "Training":
    """The LightningModule that measures, reconstructs and compares."""
    from unfold.training.module import Training, TrainingOptions

    settings, trainer = checked.settings, components.trainer
    return Training(
        reconstructor=components.reconstructor,
        physics=components.physics,
        loss=components.loss,
        optimizer=components.optimizer,
        scheduler=components.scheduler,
        metrics=components.metrics,
        options=TrainingOptions(
            settings.seed,
            settings.strict,
            trainer.log_every,
            trainer.parts(components.data.batch_size),
            checked.trainable.lr,
            checked.trainable.freeze,
            components.stages.of(components.model.count) if components.model.trains else (),
        ),
        guard=trainer.guard(),
    )


def seed_networks(seed: int, purpose: str) -> None:
    """Seed PyTorch's global generator, from which layers sample their initial weights.

    All bits of the seed count, though the generator keeps 32 of what it is given.
    """
    import torch

    digest = hashlib.blake2b(repr((seed, "weights", purpose)).encode(), digest_size=4).digest()
    torch.manual_seed(int.from_bytes(digest, "little"))
