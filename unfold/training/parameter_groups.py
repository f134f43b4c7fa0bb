"""What is learned: learning rates and freezing by globs on names, and the first gradient."""

import fnmatch
import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from unfold.errors import ConfigError, listing, nearest


def public_name(name: str) -> str:
    """`algo.raw_stepsize` as the configuration calls it, `algo.stepsize`."""
    head, _, tail = name.rpartition(".")
    return f"{head}.{tail.removeprefix('raw_')}"


def learned(reconstructor: nn.Module) -> dict[str, nn.Parameter]:
    """Everything that is learned, by its public name: `algo.stepsize`, not `algo.raw_stepsize`."""
    named = reconstructor.named_parameters()
    return {public_name(name): p for name, p in named if p.requires_grad}


def matching(key: str, patterns: Mapping[str, Any], reconstructor: nn.Module) -> dict[str, Any]:
    """The value of each learned name that a glob matches; the last matching glob counts.

    Args:
        key: where the globs are given, for messages.
        patterns: globs and their values.
        reconstructor: whose parameters are meant.

    Raises:
        ConfigError: a glob matches nothing that is learned.
    """
    known = learned(reconstructor)
    found: dict[str, Any] = {}
    for pattern, value in patterns.items():
        # `prior.denoiser` matches all of the network.
        hits = [n for n in known if fnmatch.fnmatchcase(n, pattern) or n.startswith(f"{pattern}.")]
        if not hits:
            short = sorted({".".join(name.split(".")[:2]) for name in known})
            raise ConfigError(
                f"{key} names '{pattern}', which is not learned{nearest(pattern, short)} "
                f"Learned: {listing(short)}."
            )
        found |= dict.fromkeys(hits, value)
    return found


def by_learning_rate(reconstructor: nn.Module, rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """Groups of parameters for an optimizer; those without their own learning rate come first.

    Raises:
        ConfigError: a glob matches nothing that is learned, or a rate is not positive.
    """
    for pattern, rate in rates.items():
        if not rate > 0:
            raise ConfigError(f"TrainingOptions.lr.{pattern} = {rate}: must be positive.")
    own = matching("TrainingOptions.lr", rates, reconstructor)
    groups: dict[float | None, list[nn.Parameter]] = {None: []}
    for name, parameter in learned(reconstructor).items():
        groups.setdefault(own.get(name), []).append(parameter)
    made = [
        {"params": members} | ({} if rate is None else {"lr": rate})
        for rate, members in groups.items()
    ]
    return [group for group in made if group["params"]]


def frozen(reconstructor: nn.Module, epochs: Mapping[str, int]) -> list[tuple[nn.Parameter, int]]:
    """Each parameter that is frozen at first, and the first epoch in which it is trained.

    Raises:
        ConfigError: a glob matches nothing that is learned, or a number is below 1.
    """
    for pattern, count in epochs.items():
        if count < 1:
            raise ConfigError(
                f"TrainingOptions.freeze.{pattern} = {count}: must be 1 epoch or more."
            )
    own = matching("TrainingOptions.freeze", epochs, reconstructor)
    known = learned(reconstructor)
    return [(known[name], count) for name, count in own.items()]


class DeadParameterWarning(UserWarning):
    """A learned parameter whose first gradient is exactly zero."""


def check_first_gradient(reconstructor: nn.Module) -> None:
    """Refuse learned parameters without a gradient; warn of those whose gradient is zero.

    Raises:
        ConfigError: names the parameters that no gradient reaches.
    """
    parameters = learned(reconstructor).items()
    missing = [name for name, p in parameters if p.grad is None]
    zero = [name for name, p in parameters if p.grad is not None and not bool(p.grad.any())]
    if missing:
        raise ConfigError(
            f"Reconstructor.learn: no gradient reaches {listing(missing)}. Leave them out, as in "
            "learn=[prior.*], or choose a model whose steps use them."
        )
    if zero:
        warnings.warn(
            f"The first gradient of {listing(zero)} is exactly zero: they do not change the loss "
            "so far. Leave them out of `learn` if that is intended.",
            DeadParameterWarning,
            stacklevel=2,
        )
