"""Learning rates of their own, and parameters that wait: both by name."""

import fnmatch
from collections.abc import Mapping
from typing import Any

from torch import nn

from unfold.errors import ConfigError, listing, nearest
from unfold.training.audit import config_name


def learned(reconstructor: nn.Module) -> dict[str, nn.Parameter]:
    """Everything that is learned, under its name in the configuration."""
    named = reconstructor.named_parameters()
    return {config_name(name): p for name, p in named if p.requires_grad}


def matching(key: str, patterns: Mapping[str, Any], reconstructor: nn.Module) -> dict[str, Any]:
    """The value of each learned name that a glob means; the last glob that means it counts.

    Args:
        key: of the configuration, `trainable.lr`, for messages.
        patterns: globs and their values.
        reconstructor: whose parameters are meant.

    Raises:
        ConfigError: a glob means nothing that is learned.
    """
    known = learned(reconstructor)
    found: dict[str, Any] = {}
    for pattern, value in patterns.items():
        # `prior.denoiser` means all of the network, as it does in trainable.learn.
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
    """Groups of parameters for an optimiser; those without a rate of their own come first.

    Raises:
        ConfigError: a glob means nothing that is learned, or a rate is not positive.
    """
    for pattern, rate in rates.items():
        if not rate > 0:
            raise ConfigError(f"trainable.lr.{pattern} = {rate}: must be positive.")
    own = matching("trainable.lr", rates, reconstructor)
    groups: dict[float | None, list[nn.Parameter]] = {None: []}
    for name, parameter in learned(reconstructor).items():
        groups.setdefault(own.get(name), []).append(parameter)
    made = [
        {"params": members} | ({} if rate is None else {"lr": rate})
        for rate, members in groups.items()
    ]
    return [group for group in made if group["params"]]


def waiting(reconstructor: nn.Module, epochs: Mapping[str, int]) -> list[tuple[nn.Parameter, int]]:
    """Each parameter that waits, and the first epoch in which it moves.

    Raises:
        ConfigError: a glob means nothing that is learned, or a number is below 1.
    """
    for pattern, count in epochs.items():
        if count < 1:
            raise ConfigError(f"trainable.freeze.{pattern} = {count}: must be 1 epoch or more.")
    own = matching("trainable.freeze", epochs, reconstructor)
    known = learned(reconstructor)
    return [(known[name], count) for name, count in own.items()]
