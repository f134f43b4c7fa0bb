"""Which scalars and networks are learned, which are of each iteration, and where they start.

Names are chosen by globs such as `algo.stepsize`; every glob must match something.
"""

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import Any

import torch
from torch import nn

from unfold.errors import ConfigError, listing, nearest
from unfold.parameters.condition import expect_condition
from unfold.parameters.constraints import Complex, Constraint, Interval, Simplex, real
from unfold.parameters.declare import NOISE_LEVEL, Declaration, Recipe, Unit, declarations
from unfold.parameters.group import ParameterGroup, Plan, held, initial_values
from unfold.parameters.networks import PerIteration, expect_registered, leaves, stages

NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Trainable:
    """What is learned, and how; every entry is a glob on names such as `algo.stepsize`.

    Args:
        learn: what is learned.
        untied: what has an independent value, or network, in each iteration.
        constrain: narrower sets, name → (low, high).
        widen: other sets instead of the declared ones, (−∞, ∞) included: what is known of the
            convergence of an algorithm does not hold in them.
        condition: what a scalar depends on, name → features such as `noise_level`, `sampling`.
        relative: what is given relative to ‖A‖, where its declaration has such a unit.
        noise_relative: what is given relative to the noise level σ of each measurement, and not to
            ‖A‖: λ = 2 is 2σ, and what is learned is the factor.
    """

    learn: Sequence[str] = ("algo.*", "prior.*")
    untied: Sequence[str] = ()
    constrain: Mapping[str, Sequence[float]] = field(default_factory=dict)
    condition: Mapping[str, Sequence[str]] = field(default_factory=dict)
    relative: Sequence[str] = ("algo.*",)
    widen: Mapping[str, Sequence[float]] = field(default_factory=dict)
    noise_relative: Sequence[str] = ()

    def of(self, path: str, *, others: bool = False) -> "Trainable":
        """What is meant of one path, or of all others."""
        every = (*self.learn, *self.constrain, *self.widen)
        meant = {n for n in every if (n.split(".")[0] == path) != others}
        narrow, wide = (
            {n: pair for n, pair in one.items() if n in meant}
            for one in (self.constrain, self.widen)
        )
        learn = [n for n in self.learn if n in meant]
        return replace(self, learn=learn, constrain=narrow, widen=wide)


def walk(recipe: Recipe, path: str) -> Iterator[tuple[str, Recipe]]:
    """A recipe and those inside it, by full name."""
    yield path, recipe
    for name, leaf in leaves(recipe):
        if isinstance(leaf, Recipe):
            yield from walk(leaf, f"{path}.{name}")


def names(recipe: Recipe, path: str) -> dict[str, Any]:
    """What can be learned of a recipe and of those inside it: scalars, networks, parameters."""
    found: dict[str, Any] = {}
    for owner, one in walk(recipe, path):
        found |= {f"{owner}.{name}": getattr(one, name) for name in declarations(one)}
        held = ((name, leaf) for name, leaf in leaves(one) if not isinstance(leaf, Recipe))
        kinds = (nn.Module, nn.Parameter)
        found |= {f"{owner}.{name}": leaf for name, leaf in held if isinstance(leaf, kinds)}
    return found


def dead_names(recipe: Recipe, path: str) -> dict[str, str]:
    """The scalars of a recipe, and of those inside it, that cannot act, and why."""
    pairs = walk(recipe, path)
    return {f"{owner}.{n}": why for owner, one in pairs for n, why in one.cannot_act().items()}


def matches(pattern: str, name: str, value: object) -> bool:
    """Whether a glob means this scalar, this network, or a part of this network."""
    if fnmatch.fnmatchcase(name, pattern):
        return True
    if not isinstance(value, nn.Module):
        return False
    return any(fnmatch.fnmatchcase(f"{name}.{n}", pattern) for n, _ in value.named_parameters())


Select = Callable[..., set[str]]
"""`chosen` of the names of some recipes."""


def chosen(
    known: Mapping[str, Any],
    dead: Mapping[str, str],
    key: str,
    patterns: Sequence[str],
    *,
    alive: bool = True,
    whole: bool = False,
    optional: Set[str] = NONE,
) -> set[str]:
    """The names meant by the globs of a field of `Trainable`, each of which must match something.

    `known` has every name with its value, and `dead` those that cannot act, with the reason; where
    `alive`, they are left out, or refused where they are named. `whole` refuses a glob that means
    weights inside a network; one in `optional`, such as `prior.*` of a prior without parameters,
    may match nothing.

    Raises:
        ConfigError: a pattern matches nothing, or names what cannot act.
    """
    found: set[str] = set()
    for pattern in patterns:
        hits = {n for n, value in known.items() if matches(pattern, n, value)}
        full = {n for n in hits if fnmatch.fnmatchcase(n, pattern)}
        if whole and hits and not full:
            raise ConfigError(
                f"Trainable.{key} = {list(patterns)}: '{pattern}' means weights inside "
                f"{listing(hits)}; iterations have separate networks, or share one. "
                f"Write {key}=[{min(hits)}]."
            )
        hits = full if whole else hits
        if not hits and pattern not in optional:
            raise ConfigError(
                f"Trainable.{key} = {list(patterns)}: '{pattern}' matches nothing"
                f"{nearest(pattern, known)} Available: {listing(known)}."
            )
        if alive and pattern in dead:
            raise ConfigError(
                f"Trainable.{key} names '{pattern}', which cannot act: {dead[pattern]}. Leave it "
                "out, or use a glob, which skips it."
            )
        found |= {n for n in hits if not (alive and n in dead)}
    return found


def make_groups(
    recipes: Mapping[str, Recipe],
    iterations: int | None,
    horizon: int | None,
    trainable: Trainable,
    dead: Mapping[str, str],
) -> dict[str, ParameterGroup]:
    """The parameters of every recipe, as the user chose.

    Args:
        recipes: by path, `algo` and `prior`.
        iterations: K of an unfolded network; None where all iterations share their values.
        horizon: for how many iterations a schedule is read; None where it cannot be followed.
        trainable: what is learned, untied, constrained, relative.
        dead: further names that cannot act here, with the reason.

    Raises:
        ConfigError: an invalid name or value; names valid ones.
    """
    known: dict[str, Any] = {}
    for path, recipe in recipes.items():
        for _, one in walk(recipe, path):
            expect_registered(one)
        known |= names(recipe, path)
        dead = {**dead, **dead_names(recipe, path)}
    fixed = [name for name, value in known.items() if value == NOISE_LEVEL]
    dead = {**dead, **dict.fromkeys(fixed, "it is the noise level of each measurement")}
    select = partial(chosen, known, dead)
    learned = select("learn", trainable.learn, optional={f"{path}.*" for path in recipes})
    untied = select("untied", trainable.untied, whole=True)
    _expect_stages(known, iterations)
    if iterations is None and untied:
        raise ConfigError(
            f"Trainable.untied = {list(trainable.untied)}: this model repeats one and the same "
            "step, so nothing can differ between iterations; set "
            "Trainable.untied=[], or use an unfolded model."
        )
    plans = _plans(recipes, (iterations, horizon), learned, untied, select, trainable)
    groups = {
        path: ParameterGroup(recipe, plans, untied, iterations or 1, path)
        for path, recipe in recipes.items()
    }
    _freeze(groups, known, learned, trainable.learn)
    return groups


def _expect_stages(known: Mapping[str, Any], iterations: int | None) -> None:
    """Refuse networks of the iterations that are not one for each."""
    for name, value in known.items():
        if isinstance(value, PerIteration) and len(value) != iterations:
            expected = "one network for all" if iterations is None else f"{iterations} networks"
            raise ConfigError(
                f"{name}: {len(value)} networks came, and the iterations of this model need "
                f"{expected}."
            )


def _plans(
    recipes: Mapping[str, Recipe],
    lengths: tuple[int | None, int | None],
    learned: set[str],
    untied: set[str],
    select: Select,
    trainable: Trainable,
) -> dict[str, Plan]:
    relative = select("relative", trainable.relative, alive=False, optional={"algo.*"})
    noisy = select("noise_relative", trainable.noise_relative)
    scalars = _scalars(recipes)
    if odd := noisy - scalars.keys():
        raise ConfigError(
            f"Trainable.noise_relative = {list(trainable.noise_relative)}: {listing(odd)} is a "
            f"network, and only numbers are relative to σ. Available: {listing(scalars)}."
        )
    limits = limits_of(scalars, select, trainable)
    features = {n: f for g, f in trainable.condition.items() for n in select("condition", [g])}
    expect_condition(features, scalars, learned, trains=bool(trainable.learn))
    plans: dict[str, Plan] = {}
    for name, (value, declaration, owner) in scalars.items():
        constraint = limits.get(name, declaration.constraint)
        if value == NOISE_LEVEL:
            plans[name] = Plan(torch.ones(()), constraint, "noise_level", learned=False)
            continue
        count = owner.entries(name.rpartition(".")[2]) if declaration.vector else None
        values = initial_values(name, value, *lengths, count, own=name in untied)
        if not constraint.holds(values):
            raise ConfigError(f"{name} = {value}: must be {constraint}.")
        unit: Unit = declaration.unit if name in relative else "1"
        unit = "noise_level" if name in noisy else unit
        if declaration.unit == "1" and name in trainable.relative:
            raise ConfigError(
                f"Trainable.relative names '{name}', which has no unit of ‖A‖; leave it out."
            )
        vector, own = declaration.vector, tuple(features.get(name, ()))
        plans[name] = Plan(values, constraint, unit, name in learned, vector, own)
    return plans


def limits_of(
    scalars: Mapping[str, tuple[Any, Any, Any]], select: Select, trainable: Trainable
) -> dict[str, Constraint]:
    """The other sets, by name; the second of three says the set that a scalar has."""
    limits: dict[str, Constraint] = {}
    asked = [("constrain", *item) for item in trainable.constrain.items()]
    asked += [("widen", *item) for item in trainable.widen.items()]
    for key, pattern, bounds in asked:
        if len(bounds) != 2:
            raise ConfigError(
                f"Trainable.{key}.{pattern} = {list(bounds)}: two numbers are expected, "
                "[low, high]."
            )
        low, high = map(float, bounds)
        free = key == "widen" and (low, high) == (-inf, inf)
        interval = real if free else Interval(low, high)
        for name in select(key, [pattern]):
            if name not in scalars:
                raise ConfigError(
                    f"Trainable.{key} names '{name}', a network: only scalars have a set. "
                    f"Available: {listing(scalars)}."
                )
            declared = scalars[name][1].constraint
            if key == "constrain" and not declared.spans(low, high):
                raise ConfigError(
                    f"Trainable.constrain.{pattern} = {list(bounds)}: must lie inside the "
                    f"set of {name}, which is {declared}; it may only be narrowed. "
                    f"Trainable.widen={{{pattern}: {list(bounds)}}} takes it in spite of that."
                )
            if isinstance(declared, Complex | Simplex):
                raise ConfigError(f"Trainable.{key} names '{name}', whose set is {declared}.")
            if name in limits:
                raise ConfigError(f"Trainable.{key} names '{name}', whose set is given twice.")
            limits[name] = interval
    return limits


def _scalars(recipes: Mapping[str, Recipe]) -> dict[str, tuple[Any, Declaration, Recipe]]:
    """Every declared scalar with its value, its declaration and its recipe."""
    return {
        f"{owner}.{name}": (getattr(one, name), declaration, one)
        for path, recipe in recipes.items()
        for owner, one in walk(recipe, path)
        for name, declaration in declarations(one).items()
    }


def _freeze(
    groups: Mapping[str, ParameterGroup],
    known: Mapping[str, Any],
    learned: set[str],
    globs: Sequence[str],
) -> None:
    """Only what a glob of `learn` matches keeps its gradient inside the networks."""
    for name, value in known.items():
        if not isinstance(value, nn.Module | nn.Parameter):
            continue
        path, _, rest = name.partition(".")
        found = held(groups[path], rest)
        if isinstance(found, nn.Parameter):
            found.requires_grad_(name in learned)
            continue
        for one in stages(found):
            for n, p in one.named_parameters():
                meant = (fnmatch.fnmatchcase(m, g) for m in (name, f"{name}.{n}") for g in globs)
                p.requires_grad_(name in learned and any(meant))
