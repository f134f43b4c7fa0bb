"""The reconstructor: an algorithm, a prior, a fidelity and a model, with their parameters."""

import warnings
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unfold.algorithms.algorithm import Algorithm, Guarantee, proven
from unfold.compatibility import (
    check_contraction,
    check_linear,
    check_needs,
    check_one_map,
    check_registered,
)
from unfold.denoisers.denoiser import InHalfPrecision
from unfold.denoisers.tiled import Tiled
from unfold.errors import ConfigError, DataWarning, listing
from unfold.features import feature
from unfold.fidelities.fidelity import Fidelity
from unfold.initialization import Regularised, Start, StartWarning
from unfold.models.model import Model, Pair, Solution, Steps
from unfold.models.separate_blocks import rejoined, separated
from unfold.parameters.bounds import warn_of_eight_bits
from unfold.parameters.declare import NOISE_LEVEL, Recipe
from unfold.parameters.group import (
    ParameterGroup,
    Plan,
    Scales,
    conditions_of,
    groups_of,
    value_range,
)
from unfold.parameters.networks import leaves
from unfold.parameters.select import (
    Trainable,
    chosen,
    dead_names,
    limits_of,
    make_groups,
    matches,
    names,
)
from unfold.physics.base import Physics
from unfold.physics.operator import Operator
from unfold.priors.denoiser_priors import DenoiserPrior
from unfold.priors.prior import Prior
from unfold.problem import make_problem
from unfold.random import Draws
from unfold.shapes import FAR, expect_tensor
from unfold.typing import Image, Measurement, PerImage

P = TypeVar("P", bound=Physics)


class Reconstructor(nn.Module):
    """x̂ from (y, A): min_x f(x) + λ g(x), iterated by the model.

    Args:
        algorithm: the iteration, with the values its scalars start from.
        prior: g, or what stands for it.
        fidelity: d in f = d(A·, y).
        model: how the step is repeated and differentiated.
        start: the image to start from; `Regularised` if not given.
        trainable: what is learned, untied, constrained and relative to ‖A‖; all tied if not given.
        strict: whether a network with which an equilibrium may not exist is an error; otherwise it
            is used as given, with a warning.

    Raises:
        ConfigError: the parts do not fit each other, or a name cannot be meant.
    """

    def __init__(
        self,
        algorithm: Algorithm[Any],
        prior: Prior,
        fidelity: Fidelity,
        model: Model,
        start: Start | None = None,
        trainable: Trainable | None = None,
        *,
        strict: bool = False,
    ) -> None:
        super().__init__()
        check_needs(algorithm, prior, fidelity)
        check_registered(fidelity=fidelity, model=model)
        start = start or Regularised()
        trainable = trainable or Trainable()
        if not model.trains:
            trainable = replace(trainable, learn=())
        parts: dict[str, Recipe] = {"algo": algorithm, "prior": prior}
        dead = _dead(algorithm, prior)
        if _is_meant(start, trainable):
            parts["start"] = start
            if model.needs_contraction:
                reason = "an equilibrium does not depend on its start"
                dead |= dict.fromkeys(names(start, "start"), reason)
        groups = make_groups(parts, model.count, model.horizon, trainable, dead)
        self.dead = {**dead, **dead_names(algorithm, "algo"), **dead_names(prior, "prior")}
        self.algo, self.prior = groups["algo"], groups["prior"]
        if model.needs_contraction:
            check_one_map(self.prior)
            check_contraction(algorithm, prior, strict=strict)
        self.fidelity, self.model = fidelity, model
        self.start: Start | ParameterGroup = groups.get("start", start)
        if "start" in groups and groups["start"].varies:
            raise ConfigError(
                f"Trainable.untied = {list(trainable.untied)}: the start is computed once, and "
                "has no values of its own in each iteration. Leave start.* out of it."
            )
        self.half_precision, self.penalizes = False, prior.penalizes
        self.tile: int | None = None  # side of the tiles on which networks see large images
        self.physics: ParameterGroup | None = None  # of `learn_physics`
        self.conditions = dict(conditions_of(self))  # found once: each reconstruction asks them

    def forward(
        self,
        y: Measurement,
        operator: Operator | Physics,
        noise_level: float | Tensor | None = None,
    ) -> Image:
        """The image behind y; a deterministic `Physics` is accepted as an operator."""
        return self.solve(y, operator, noise_level=noise_level).image

    def solve(
        self,
        y: Measurement,
        operator: Operator | Physics,
        *,
        keep_iterates: bool = False,
        draws: Draws | None = None,
        noise_level: float | Tensor | None = None,
        iterations: int | None = None,
    ) -> Solution:
        """The image with its certificate.

        Args:
            y: the measurement.
            operator: A, or a deterministic `Physics`.
            keep_iterates: whether the solution holds the first image and that after every step.
            draws: of a random part of the loss, such as the penalty of an equilibrium.
            noise_level: σ of the noise of y, in its units: one number, or (B,); a `Physics` whose
                level is fixed knows it.
            iterations: how many an unfolded model takes; None for all of its own.
        """
        expect_tensor("Reconstructor", y)
        if isinstance(operator, Physics):
            physics, operator = operator, operator.operator_for(y)
            noise_level = physics.known_level(y, operator) if noise_level is None else noise_level
        steps = self.steps(*separated(y, operator, noise_level))
        steps = replace(steps, keep_iterates=keep_iterates, draws=draws, iterations=iterations)
        return rejoined(self.model.run(steps), operator)

    def denoise(self, v: Image, sigma: PerImage) -> Image:
        """D(v, σ) of a prior that a network defines, in iteration 0."""
        prior = self._prior_at(0, {"noise_level": sigma.reshape(-1, 1, 1, 1)})
        assert isinstance(prior, DenoiserPrior)
        return replace(prior, sigma=sigma.reshape(-1, 1, 1, 1)).denoise(v)

    def steps(
        self, y: Measurement, operator: Operator, noise_level: float | Tensor | None = None
    ) -> Steps:
        """The algorithm and the problem of each iteration, with numbers in place."""
        check_linear(type(self.algo.recipe), operator)
        scales, level = _scales(operator, y), _level(noise_level, y)
        scales |= {} if level is None else {NOISE_LEVEL: level.reshape(-1, 1, 1, 1)}
        scales |= self._conditions(operator, scales)
        start = self.own_start
        if (other := start.instead(operator)) is not None:
            warnings.warn(
                f"{type(start).__name__} is not made for {type(operator).__name__}: the "
                f"reconstruction starts from start.elsewhere, {type(other).__name__}.",
                StartWarning,
                stacklevel=3,
            )
        data = make_problem(self.fidelity, operator, y, self._prior_at(0, scales), other or start)
        f = replace(data.f, solve_tol=self.model.solve_tolerance(y))
        data = replace(data, f=f, noise_level=level)

        def later(k: int) -> Pair:
            g = self._prior_at(k, scales) if self.prior.varies else data.g
            return self.algo.at(k, scales), replace(data, g=g)

        varies = self.algo.varies or self.prior.varies
        first = self.algo.at(0, scales), data
        return Steps(first, later if varies else None, penalizes=self.penalizes)

    @property
    def own_start(self) -> Start:
        """The start of the training, with numbers in place."""
        held = self.start
        start: Start = held.at(0, {}) if isinstance(held, ParameterGroup) else held
        return start

    def guarantee(
        self, y: Measurement, operator: Operator, noise_level: float | Tensor | None = None
    ) -> Guarantee:
        """For which values the iteration is known to converge, and whether they hold here."""
        steps = self.steps(y, operator, noise_level)
        count = 1 if steps.later is None else self.model.horizon or 1
        pairs = map(steps.at, range(count))
        found = [proven(algorithm, problem) for algorithm, problem in pairs]
        return Guarantee(found[0].condition, all(g.holds for g in found))

    def parameter_values(self) -> dict[str, Tensor]:
        """Every scalar by name, () or (K,), in its own unit; vectors are (n,) or (K, n)."""
        groups = dict(groups_of(self))
        return {f"{p}.{n}": g.value(n).detach() for p, g in groups.items() for n in g.plans}

    def _conditions(self, operator: Operator, scales: Scales) -> dict[str, Tensor]:
        """What is added to the parameters that depend on the problem."""
        every = [one.features for one in self.conditions.values()]
        wanted = {name for features in every for name in features} - {NOISE_LEVEL}
        like = scales["‖A‖²"]
        found = {name: feature(operator, name).detach().to(like) for name in sorted(wanted)}
        return {name: one({**scales, **found}) for name, one in self.conditions.items()}

    def _prior_at(self, k: int, scales: Scales) -> Prior:
        prior: Prior = self.prior.at(k, scales)
        if self.half_precision:
            prior = prior.with_denoisers(InHalfPrecision)
        if self.tile is not None:
            prior = prior.with_denoisers(partial(Tiled, side=self.tile))
        return prior


def learn_physics(physics: P, trainable: Trainable, *, simulates: bool) -> tuple[P, ParameterGroup]:
    """The physics whose operators have learned parameters, and these, to be `net.physics`.

    Args:
        physics: has what can be learned, in `learnable`, and the values to start from.
        trainable: its `learn` and `constrain` are globs on names such as `physics.kernel`.
        simulates: whether the physics also makes y, so that only what samples is learned.

    Raises:
        ConfigError: a name is no parameter, or one that cannot be learned here.
    """
    kind, known, dead = type(physics).__name__, {}, {}
    for name, one in physics.learnable.items():
        start = one.start(physics)
        known[f"physics.{name}"] = start, one, one
        if simulates and not one.samples:
            dead[f"physics.{name}"] = (
                f"the same {kind} simulates y, and would become the identity; take measured data, "
                "such as data=pairs, kspace or sinogram, or unfold calibrate"
            )
        elif start is None:
            value = getattr(physics, name)
            given = value if value is None or isinstance(value, str) else type(value).__name__
            dead[f"physics.{name}"] = (
                f"it is {given}, with no value to start from; give {one.needs}"
            )
    select = partial(chosen, known, dead)
    if not known or not (learned := select("learn", trainable.learn)):
        why = "; ".join(f"{name}: {reason}" for name, reason in dead.items())
        can = f"can be learned of {kind}: {listing(known) if known else 'nothing'}"
        raise ConfigError(f"Trainable.learn = {list(trainable.learn)}: {why or can}.")
    limits = limits_of(known, select, trainable)
    plans: dict[str, Plan] = {}
    for name in sorted(learned):
        constraint = limits.get(name, known[name][1].constraint)
        start = torch.as_tensor(known[name][0]).detach()
        if not constraint.holds(start):
            raise ConfigError(f"{name} = {value_range(start)}: must be {constraint}.")
        plans[name] = Plan(start, constraint, "1", True, start.ndim)
    values = ParameterGroup(Recipe(), plans, set(), 1, "physics")
    live = {name: partial(values.value, name) for name in values.plans}
    return replace(physics, learned={**physics.learned, **live}), values


def _is_meant(start: Start, trainable: Trainable) -> bool:
    """Whether something of the start is chosen by name, or has to be stored."""
    own, globs = names(start, "start"), (*trainable.learn, *trainable.untied, *trainable.constrain)
    named = any(matches(glob, n, v) for glob in globs for n, v in own.items())
    return named or any(g.startswith("start.") for g in globs) or any(True for _ in leaves(start))


def _dead(algorithm: Algorithm[Any], prior: Prior) -> dict[str, str]:
    """The names that cannot act because of the other part, and why."""
    if not algorithm.uses_g:
        return dict.fromkeys(names(prior, "prior"), f"{type(algorithm).__name__} takes no prior")
    if prior.uses_lambda:
        return {}
    reason = f"prior {type(prior).__name__} takes no weight, so λ drops out"
    return {"algo.lambda_reg": reason}


def _expect_meant(operator: Operator, y: Tensor, squared: Tensor) -> None:
    """Refuse an A that is 0, and warn of a y that no image in [0, 1] has, by far.

    ‖y‖ ≤ ‖A‖ √n and noise. On a GPU, where it would synchronize, neither is tested.
    """
    if squared.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if not bool(squared.all()):
        blind = (squared.flatten() == 0).nonzero().flatten().tolist()
        raise ConfigError(
            f"{type(operator).__name__} is 0 for the samples {blind}: ‖A‖² = 0, so that y tells "
            "nothing of the image. Its mask, kernel or matrix must have an entry that is not 0."
        )
    doubt_norm(operator, y, squared, FAR)


def doubt_norm(operator: Operator, y: Tensor, squared: Tensor, far: float) -> None:
    """Warn of a y of `far` times the norm that images in [0, 1] have at most: ‖A‖ √n."""
    if not operator.linear:
        return
    most = (squared.flatten() * prod(operator.image_shape)).sqrt()
    # In double precision, as the square of 1e20 overflows in single.
    norms = torch.linalg.vector_norm(y.detach().abs().double().flatten(1), dim=1)
    # What is not finite is refused where the iteration is watched, by its image.
    if bool(((norms > far * most) & norms.isfinite()).any()):
        warnings.warn(
            f"a measurement of norm {float(norms.max()):.4g}, and images in [0, 1] have at most "
            f"{float(most.max()):.4g}, noise aside; divide it by the value of white.",
            DataWarning,
            stacklevel=3,
        )


def _level(noise_level: float | Tensor | None, y: Measurement) -> PerImage | None:
    """The noise level of each measurement, (B,), in the precision and on the device of y."""
    if noise_level is None:
        return None
    level = torch.as_tensor(noise_level, dtype=y.dtype.to_real(), device=y.device)
    seen = level.device.type == "cpu" and not torch.compiler.is_compiling()
    wrong = seen and not bool(((level >= 0) & level.isfinite()).all())
    if wrong or level.shape not in ((), (1,), (len(y),)):
        raise ConfigError(
            f"noise_level = {noise_level}: one number from 0, or one for each of the {len(y)} "
            "measurements, is expected."
        )
    if seen and level.numel():
        warn_of_eight_bits("noise_level", float(level.max()))
    return level.expand(len(y))


def _scales(operator: Operator, y: Measurement) -> dict[str, Tensor]:
    """What a value relative to ‖A‖, or to its bound, is multiplied by, (B, 1, 1, 1)."""
    squared = operator.norm_bound.to(y.device, y.dtype.to_real()).reshape(-1, 1, 1, 1)
    _expect_meant(operator, y, squared)
    return {"1/‖A‖²": 1 / squared, "1/‖A‖": torch.rsqrt(squared), "‖A‖²": squared}
