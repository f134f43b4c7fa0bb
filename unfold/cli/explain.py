"""`unfold explain`: the update of a configuration, its parameters, its solvers, its convergence."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from math import isnan
from typing import TYPE_CHECKING, Any, NamedTuple

from unfold.cli.console import say
from unfold.config.arguments import Syntax
from unfold.config.build import components_of, configure
from unfold.config.check import Components
from unfold.config.errors import shown
from unfold.parameters.bounds import bounds_of
from unfold.parameters.declare import declarations

if TYPE_CHECKING:
    from unfold.algorithms.algorithm import Algorithm
    from unfold.physics.base import Physics
    from unfold.physics.operator import Operator
    from unfold.problem import Problem
    from unfold.reconstructor import Reconstructor


SETTINGS = ("physics", "fidelity", "model", "start")
"""The components whose settings are listed after the parameters of algorithm and prior."""

SECTION = re.compile(r"^(Args|Returns|Raises|Source|Warns|Yields)\b.*:", re.MULTILINE)
ARGUMENTS = re.compile(r"^Args:\n((?: .*\n?|\n)*)", re.MULTILINE)
ENTRY = re.compile(r"^    (\w+): (.*(?:\n     +.*)*)", re.MULTILINE)


class Described(NamedTuple):
    """A docstring: its first and second paragraph, its arguments by name, and its source."""

    headline: str
    formula: str
    arguments: Mapping[str, str]
    source: str


def describe(kind: type) -> Described:
    """Read the docstring of a class."""
    text = inspect.getdoc(kind) or ""
    headline, formula = (*map(_one_line, SECTION.split(text)[0].split("\n\n")), "")[:2]
    documents = [inspect.cleandoc(base.__doc__ or "") for base in reversed(kind.__mro__)]
    found = [ARGUMENTS.search(document) for document in documents]  # inherited ones first
    entries = [entry for one in found if one for entry in ENTRY.findall(one[1])]
    arguments = {name: _one_line(entry) for name, entry in entries}
    source = _one_line(text.partition("Source:")[2].split("\n\n")[0]).rstrip(".")
    return Described(headline, formula, arguments, source)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def first_line(function: object) -> str:
    """The first line of a method's docstring; of its base's where it has none."""
    return (inspect.getdoc(function) or "").partition("\n")[0]


OF_F = {
    "grad": ("∇f(x)", "grad_through"),
    "prox": ("prox_{γf}(z)", "prox_through"),
    "prox_conj": ("prox_{σd*}(u)", "prox_conj"),
    "quadratic": ("d(v, y)", "value"),
}
"""What an update needs of the fidelity: its symbol, and the method that has the formula."""

OF_G = {
    "grad": ("∇g(x)", "grad"),
    "prox": ("prox_{wg}(v)", "prox"),
    "analysis": ("prox_{(wh)*}(u)", "project"),
    "split": ("prox_{wgᵢ}(v)", "prox"),
    "shrinkage": ("prox_{wh}(u)", "shrink"),
}

SYNTAX = Syntax("explain", "The update of a configuration with its values, and where it converges.")


def explain(arguments: Sequence[str]) -> int:
    """Print the configuration as mathematics with its values."""
    SYNTAX.parse(arguments, known_only=True)
    checked = configure(arguments, "explain")
    import torch

    from unfold.parameters.group import groups_of
    from unfold.random import Draws

    components = components_of(checked)
    net = components.reconstructor
    draws = Draws(checked.settings.seed, (0,), "validation")
    x = components.data.sketch(draws)
    with torch.no_grad():
        physics = components.physics.given(x)
        y, operator = physics.measure(x, draws)
        level = physics.noise_level(y, operator, draws)
        algorithm, problem = net.steps(y, operator, level).at(0)
        stored = dict(groups_of(net))
        shown_too = [path for path in SETTINGS if path == "physics" or path not in stored]
        for line in (
            *_update(components, algorithm, problem, operator),
            *_parameters(net, algorithm, problem, components.physics),
            *(line for path in shown_too for line in _settings(path, getattr(components, path))),
        ):
            say(line)
        guarantee = net.guarantee(y, operator, level)
    for line in _stages(components, checked.trainable.lr):
        say(line)
    verdict = "they lie in it" if guarantee.holds else "they do NOT lie in it"
    say(f"converges for: {guarantee.condition}; with the values above, {verdict}.")
    for name, reason in net.dead.items():
        say(f"note: {name} cannot be learned: {reason}.")
    return 0


def _update(
    components: Components, algorithm: "Algorithm[Any]", problem: "Problem", operator: "Operator"
) -> Iterator[str]:
    net = components.reconstructor
    described = describe(type(algorithm))
    yield f"minimises  {algorithm.solves}"
    parts = {"f = d(Ax, y)": net.fidelity, "A": components.physics, "g": problem.g}
    for symbol, part in parts.items():
        yield f"  {symbol:<15} {type(part).__name__}: {describe(type(part)).headline}"
    yield f"update     {described.formula}"
    if described.source:
        yield f"  source          {described.source}"
    for what in sorted(algorithm.needs_f & set(OF_F)):
        symbol, method = OF_F[what]
        yield f"  {symbol:<15} {first_line(getattr(type(net.fidelity), method))}"
    if "prox" in algorithm.needs_f:
        yield f"  (I + γA*A)⁻¹b   {_solver(operator)}"
    for what in sorted(algorithm.needs_g & set(OF_G)):
        symbol, method = OF_G[what]
        for term in problem.g.terms:
            yield f"  {symbol:<15} {type(term).__name__}: {first_line(getattr(type(term), method))}"
    model = describe(type(net.model)).headline
    yield f"repeated   {type(net.model).__name__}: {model}"


def _solver(operator: "Operator") -> str:
    from unfold.physics.closed_forms import ClosedForm
    from unfold.physics.operator import LinearOperator

    kind = type(operator)
    solve = kind.solve if issubclass(kind, ClosedForm) else kind.solve_normal
    iterative = solve is LinearOperator.solve_normal
    how = "by conjugate gradients" if iterative else first_line(solve) or "in closed form"
    return f"{kind.__name__}: {how}"


def _parameters(
    net: "Reconstructor", algorithm: "Algorithm[Any]", problem: "Problem", physics: "Physics"
) -> Iterator[str]:
    """One line for each scalar, then one for each network."""
    import torch

    from unfold.parameters.declare import declarations
    from unfold.parameters.group import groups_of, value_range, weights_of
    from unfold.parameters.select import walk

    yield "parameters"
    recipes: dict[str, Any] = {"physics": physics}
    recipes |= dict([*walk(algorithm, "algo"), *walk(problem.g, "prior")])  # of iteration 0
    recipes["start"] = net.own_start
    for name, own in groups_of(net):
        if name in recipes:
            owner = recipes[name]
            described = describe(type(owner)).arguments
            for scalar, plan in own.plans.items():
                value = own.value(scalar)
                size = value_range(value)
                here = (
                    "" if owner is physics else value_range(torch.as_tensor(getattr(owner, scalar)))
                )
                if plan.unit == "noise_level":
                    size = f"{size} · noise_level = {here} here"
                elif plan.unit != "1":
                    size += f" · {plan.unit} = {here} for this A"
                limits = str(plan.constraint)
                declared = declarations(owner).get(scalar)
                low, high = plan.constraint.low, plan.constraint.high
                if declared and not isnan(low) and not declared.constraint.spans(low, high):
                    limits += f", WIDENED: it is declared {declared.constraint}"
                learned = _learned(plan.learned, plan.own)
                depends = f"({', '.join(plan.features)})" if plan.features else ""
                yield f"  {name}.{scalar}{depends} = {size}   ({learned}; {limits})"
                yield f"      {described.get(scalar, '')}"
            for network in own.network_names:
                numbers = weights_of(own, network)
                count = sum(p.numel() for p in numbers)
                moves = any(p.requires_grad for p in numbers)
                each = network in own.per_iteration
                yield f"  {name}.{network}: {count:,} numbers   ({_learned(moves, each)})"
                yield f"      {described.get(network, '')}"


def _stages(components: Components, rates: Mapping[str, float]) -> Iterator[str]:
    """One line for each stage of the training, and one for what it learns."""
    net, lr = components.reconstructor, getattr(components.optimizer, "lr", 0.0)
    if not net.model.trains or not (plan := components.stages.of(net.model.count)):
        return
    import torch

    from unfold.parameters.group import value_range
    from unfold.training.course import moves_of

    yield f"stages     {len(plan)}, of {sum(one.steps for one in plan)} steps together"
    for k, (one, moves) in enumerate(zip(plan, moves_of(plan, net, rates, lr), strict=True), 1):
        found: dict[str, list[float]] = {}
        for name, (rate, relative) in moves.items():
            moving = [rate * r for r in relative or (1.0,) if r > 0]
            found.setdefault(".".join(name.split(".")[:2]), []).extend(moving)
        until = f", or {one.patience} validations without a better one" if one.patience else ""
        what = f"{one.iterations or net.model.count or 'all'} iterations, learned at {one.at}"
        what = what if one.denoising is None else f"the network alone, noise of {one.denoising}"
        yield f"  {k}: {one.steps} steps{until}; {what}"
        for name, values in sorted(found.items()):
            yield f"      {name}: rate {value_range(torch.tensor(values))}"


def _settings(path: str, component: Any) -> Iterator[str]:
    """One line for each setting with declared bounds, those of the components inside included."""
    kind: Any = type(component)
    described = describe(kind).arguments
    scalars = {name: one.constraint for name, one in declarations(kind).items()}
    for name, bound in (bounds_of(kind) | scalars).items():
        yield f"  {path}.{name} = {shown(getattr(component, name))}   ({bound})"
        yield f"      {described.get(name, '')}"
    for field in fields(component):
        inner = getattr(component, field.name)
        if is_dataclass(inner):
            yield from _settings(f"{path}.{field.name}", inner)


def _learned(learned: bool, each: bool) -> str:
    state = "learned" if learned else "fixed"
    return f"{state}, one per iteration" if each else state
