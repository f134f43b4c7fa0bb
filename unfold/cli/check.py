"""`unfold check`: the property kit on any configured component, or every file of a data set."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unfold.cli.console import say, table
from unfold.config import options
from unfold.config.arguments import Syntax
from unfold.config.build import build_group, components_of, configure
from unfold.config.check import check_job
from unfold.config.compose import compose
from unfold.config.errors import refuse
from unfold.config.overrides import key_of
from unfold.errors import ConfigError, DataError, listing, nearest

if TYPE_CHECKING:
    from unfold.testing.report import Report

COLUMNS = ("property", "measured", "allowed", "verdict")

EXTRAS = (
    *("astra_fan_beam_tomography", "astra_tomography"),
    *("deepinv", "functions", "levin_blur", "matrix", "monai", "nonlinear_functions"),
    *("multicoil_radial_mri", "radial_mri", "spiral_mri"),
)
"""Options that need an optional package: checked where they are named, not among all."""

MADE_FOR = {
    "start=spectral": ("physics=phase_retrieval", "fidelity=amplitude"),
    "start=filtered_back_projection": ("physics=tomography",),
    "start=fitted_linear": ("physics=block_compressed_sensing", "physics.block=8"),
}
"""The forward model that an option is checked with unless the arguments choose one."""

SIZES = 3
"""Sizes of images that a row shows."""

SYNTAX = Syntax(
    "check",
    "Measure every property of a component: physics=NAME, prior=, fidelity=, algo=, start=, loss=\n"
    "or model=; NAME may be all. Or read every file of data=NAME data.root=DIR.",
    flags={"--only": "rows of the kit, PH1,PH9"},
)


def check(arguments: Sequence[str]) -> int:
    """Measure every property of the components that the arguments name; `NAME` may be `all`."""
    given = SYNTAX.parse(arguments)
    typed = [*given.folder_flags, *given.overrides]
    rows = given.flags.get("--only", "")
    if "=" in rows:
        raise ConfigError("--only: give it rows of the kit, --only PH1,PH9.")
    only = tuple(row.strip() for row in rows.split(",") if row)
    pairs = ((key_of(text), text.partition("=")[2]) for text in given.overrides)
    chosen = {group: name for group, name in pairs if group in (*KITS, "data")}
    known = [row for group in chosen for row in ROWS.get(group, ())]
    for row in (row for row in only if row not in known):
        raise ConfigError(
            f"--only {row}: no such row{nearest(row, known)} Available: {', '.join(known)}."
        )
    if not chosen:
        groups = listing(f"{group}=NAME" for group in (*KITS, "data"))
        raise ConfigError(f"unfold check needs something to check: {groups}; NAME may be all.")
    if chosen.pop("data", None):
        check_data(*_components(typed, "data"))
    reports = [found for group, name in chosen.items() for found in _each(group, name, typed, only)]
    for name, found in reports:
        _show(name, found, only)
    for _, found in reports:
        found.raise_if_failed()
    measured = [found for _, found in reports if found.applies]
    count = sum(len(found.checks) for found in measured)
    if measured:
        one = len(measured) == 1
        subject = "1 component has all its" if one else f"{len(measured)} components have all their"
        say(f"{subject} properties ({count} measurements).")
    return 0


def _show(name: str, found: "Report", only: Sequence[str]) -> None:
    rows = [_row(one) for one in found.worst()]
    rows += [(f"{one.id} {one.name}", "-", "-", "not judged") for one in found.left_out()]
    if found.applies:
        table(f"{name}: {len(found.checks)} measurements", COLUMNS, rows)
    else:
        say(f"{name}: {', '.join(only)} {'do' if len(only) > 1 else 'does'} not apply.")
    for one in found.left_out():
        say(f"{name}: {one}.")


def _row(one: Any) -> tuple[str, str, str, str]:
    shown = "exact" if one.tol == 0 else f"{one.tol:.0e}"
    verdict = "holds" if one.passed else "BROKEN"
    return f"{one.id} {one.name}", f"{one.value:.1e}", shown, verdict


def _each(
    group: str, name: str, arguments: Sequence[str], only: Sequence[str]
) -> "Iterator[tuple[str, Report]]":
    known = [one for one in options.names(group, [options.configs_folder()]) if one not in EXTRAS]
    kept = [text for text in arguments if key_of(text) != group and text.partition("=")[2] != "all"]
    given = {key_of(text) for text in kept}
    for one in known if name == "all" else [name]:
        own = [f"{group}={one}"]
        if "physics" not in given:
            own += [text for text in MADE_FOR.get(own[0], ()) if key_of(text) not in given]
        named = [*kept, *own]
        found = _physics(named, only) if group == "physics" else KITS[group](named).only(only)
        yield " ".join(own), found


def _components(arguments: Sequence[str], *groups: str) -> list[Any]:
    """The components of some groups, which need not fit the others."""
    composed = compose(arguments)
    refuse(composed.problems)
    checked, _ = check_job(composed.jobs[0], ())
    return [build_group(checked, group) for group in groups]


def _physics(arguments: Sequence[str], only: Sequence[str] = ()) -> "Report":
    from unfold.solvers.result import ConvergenceWarning
    from unfold.testing.physics import check_physics

    with warnings.catch_warnings():
        # What did not converge is not judged, and the report says so.
        warnings.simplefilter("ignore", ConvergenceWarning)
        (physics,) = _components(arguments, "physics")
        return check_physics(physics, only=only)


def _prior(arguments: Sequence[str]) -> "Report":
    from unfold.parameters.select import walk
    from unfold.testing.priors import check_prior, in_double

    prior, data = _components(arguments, "prior", "data")
    prior = in_double(prior)
    gap = max(getattr(one, "tol", 0.0) for _, one in walk(prior, "prior"))  # 0 of an exact prox
    return check_prior(prior, gap=gap, multiple=data.multiple_of)


def _fidelity(arguments: Sequence[str]) -> "Report":
    from unfold.testing.priors import check_fidelity

    return check_fidelity(*_components(arguments, "fidelity"))


def _algorithm(arguments: Sequence[str]) -> "Report":
    from unfold.testing.algorithms import check_algorithm, problem_for

    return check_algorithm(*problem_for(*_components(arguments, "algo")))


def _start(arguments: Sequence[str]) -> "Report":
    from unfold.testing.training import check_start

    names = ("start", "physics", "fidelity", "data")
    start, physics, fidelity, data = _components(arguments, *names)
    return check_start(start, physics, fidelity, (data.channels, 16, 16))


def _loss(arguments: Sequence[str]) -> "Report":
    from unfold.testing.training import check_loss
    from unfold.training.losses import Splitting

    loss, physics, data, model = _components(arguments, "loss", "physics", "data", "model")
    found = check_loss(loss, physics, (data.channels, 16, 16), model.count or 1)
    if isinstance(loss, Splitting):
        # It averages over all entries held out of the batch; images have unequally many.
        found = replace(found, checks=tuple(one for one in found.checks if one.id != "LO3"))
    return found


def _model(arguments: Sequence[str]) -> "Report":
    """The properties of the reconstructor on tiny images, in float64."""
    import torch

    from unfold.models.deq import DEQ
    from unfold.models.unfolded import Unfolded
    from unfold.random import Draws
    from unfold.testing.algorithms import check_algorithm
    from unfold.testing.models import check_equilibrium, check_unfolded

    checked = configure(arguments, "check")
    components = components_of(checked)
    net = components.reconstructor.double()
    one = isinstance(net.model, DEQ)
    draws = Draws(checked.settings.seed, range(1 if one else 2), dtype=torch.float64)
    x = draws.uniform("images", (components.data.channels, 16, 16))
    y, operator = components.physics.measure(x, draws)
    if one:
        return check_equilibrium(net, y, operator)
    if isinstance(net.model, Unfolded):
        return check_unfolded(net, y, operator)
    return check_algorithm(*net.steps(y, operator).at(0))


def check_data(data: Any) -> None:
    """Read every file of a data set again, and report every fault."""
    from rich.progress import Progress

    if not (total := sum(map(len, data.files().values()))):
        raise DataError(f"{type(data).__name__}: nothing to check; {data.where('train')}.")
    begin = time.perf_counter()
    with Progress(transient=True) as bar:
        task = bar.add_task("files", total=total)
        found = data.check_files(lambda: bar.advance(task))
    rate = total / (time.perf_counter() - begin)
    rows = [(split, str(s.files), str(s.usable), _sizes(s.sizes)) for split, s in found.items()]
    head = ("split", "files", "usable", "examples")
    table(f"{total} files, {rate:.0f} a second", head, rows)
    faults = [fault for one in found.values() for fault in one.faults]
    others = data.left_out()
    for text in (*faults, *(f"left out: {one}" for one in others), *found["train"].notes):
        say(f"  {text}")
    if faults:
        raise DataError(f"{len(faults)} of {total} files cannot be used.")
    say(
        f"All {total} files can be used"
        + (f", {len(others)} others are left out." if others else ".")
    )


def _sizes(sizes: Sequence[tuple[tuple[int, ...], int]]) -> str:
    """The most frequent sizes, each with how often it occurs."""
    shown = [f"{count} of {'x'.join(map(str, size))}" for size, count in sizes[:SIZES]]
    rest = len(sizes) - SIZES
    return ", ".join([*shown, f"{rest} further sizes"] if rest > 0 else shown)


KITS: dict[str, "Callable[[Sequence[str]], Report]"] = {
    "physics": _physics,
    "prior": _prior,
    "fidelity": _fidelity,
    "algo": _algorithm,
    "start": _start,
    "loss": _loss,
    "model": _model,
}
"""The groups that can be checked."""

ROWS = {
    "physics": tuple(f"PH{i}" for i in range(1, 16)),
    "prior": ("PR1", "PR2", "PR3", "PR4", "PR5", "PR7", "PR9", "PR10"),
    "fidelity": ("PR1", "PR2", "PR3", "PR5", "PR7", "PR9"),
    "algo": ("AL0", "AL1", "AL2", "AL6", "AL7"),
    "start": ("ST1", "ST2"),
    "loss": ("LO1", "LO2", "LO3"),
    "model": (
        *("AL0", "AL1", "AL2", "AL6", "AL7"),
        *("DQ0", "DQ1", "DQ2", "DQ5", "UN1", "UN2", "UN3", "UN4"),
    ),
}
"""The rows of each kit."""
