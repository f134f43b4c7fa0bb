"""`unfold doctor`: every learnable name, and whether one batch moves it."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from unfold.cli.console import say, table
from unfold.config.arguments import Syntax
from unfold.config.build import build_training, components_of, configure
from unfold.errors import ConfigError, listing

if TYPE_CHECKING:
    from torch import Tensor, nn

    from unfold.reconstructor import Reconstructor

COLUMNS = ("name", "numbers", "value", "set", "gradient norm", "verdict")

NEGLIGIBLE = 1e-7
"""The share of the largest gradient per unit of value below which a gradient is rounding."""


class Learnable(NamedTuple):
    """One learnable name, its value as the user gives it, and the set that it stays in."""

    name: str
    parameters: "tuple[nn.Parameter, ...]"
    value: str
    limits: str


SYNTAX = Syntax("doctor", "Differentiate the loss of one training batch, and list what is learned.")


def doctor(arguments: Sequence[str]) -> int:
    """Differentiate the loss of one training batch, and list what is learned."""
    SYNTAX.parse(arguments, known_only=True)
    checked = configure(arguments, "doctor")
    from unfold.cli.runtime import set_threads
    from unfold.compatibility import measured_lipschitz
    from unfold.priors.denoiser_priors import DenoiserPrior

    components = components_of(checked)
    set_threads(components.trainer.threads)
    components.data.check()
    net = components.reconstructor
    found = list(learnables(net))
    if not found:
        raise ConfigError(
            "nothing is learned: model=classical learns nothing, and trainable.learn names nothing "
            "that can act. Choose model=unfolded or model=deq, or add to trainable.learn."
        )
    batch = next(iter(components.data.train_loader()))
    _, loss = build_training(checked, components).compare(batch, "train")
    if not bool(loss.isfinite()):
        raise ConfigError(f"the loss of the first batch is {float(loss)}: lower algo.stepsize.")
    loss.backward()  # type: ignore[no-untyped-call]
    dead = _examine(found)
    for name, reason in net.dead.items():
        say(f"note: {name} cannot be learned: {reason}.")
    if net.model.needs_contraction and isinstance(components.prior, DenoiserPrior):
        size = measured_lipschitz(components.prior)
        say(f"measured Lipschitz constant of the prior: {size:.4g}, where at most 1 is needed.")
    if dead:
        raise ConfigError(
            f"trainable.learn: no gradient reaches {listing(dead)}; training would leave them as "
            "they are, and several processes would wait for them for ever. Leave them out."
        )
    numbers = sum(p.numel() for one in found for p in one.parameters)
    say(f"learnable names: {len(found)}; numbers behind them: {numbers:,}.")
    return 0


def learnables(net: "Reconstructor") -> "Iterator[Learnable]":
    """Every scalar and network of which something is learned."""
    from unfold.parameters.group import conditions_of, groups_of, held, value_range, weights_of

    for path, group in groups_of(net):
        for name, plan in group.plans.items():
            if plan.learned:
                raw = group.get_parameter(f"raw_{name}")
                limits = str(plan.constraint).removeprefix("in ")
                yield Learnable(f"{path}.{name}", (raw,), value_range(group.value(name)), limits)
        for name in group.network_names:
            learned = tuple(p for p in weights_of(group, name) if p.requires_grad)
            if learned:
                yield Learnable(f"{path}.{name}", learned, type(held(group, name)).__name__, "")
    for name, one in conditions_of(net):
        learned = tuple(p for p in one.parameters() if p.requires_grad)
        if learned:
            yield Learnable(f"{name}({', '.join(one.features)})", learned, "Condition", "")


def _examine(found: Sequence[Learnable]) -> list[str]:
    """Show what the gradient of every name is; the names that no gradient reaches."""
    sizes = {one.name: _norm(one.parameters) for one in found}
    largest = max((size for size in sizes.values() if size is not None), default=0.0)
    rows: list[tuple[str, ...]] = []
    for one in found:
        size, count = sizes[one.name], sum(p.numel() for p in one.parameters)
        verdict = "learns"
        if size is None:
            verdict = "no gradient reaches it"
        elif size == 0:
            verdict = "gradient exactly 0 on this batch"
        elif size <= NEGLIGIBLE * largest:
            verdict = "hardly acts: its gradient is rounding"
        shown = "none" if size is None else f"{size:.2e}"
        rows.append((one.name, f"{count:,}", one.value, one.limits, shown, verdict))
    table(None, COLUMNS, rows)
    return [name for name, size in sizes.items() if size is None]


def _norm(parameters: "Sequence[Tensor]") -> float | None:
    """The norm of the gradient; None where one of the parameters has none."""
    squares = [float(p.grad.square().sum()) for p in parameters if p.grad is not None]
    return sum(squares) ** 0.5 if len(squares) == len(parameters) else None
