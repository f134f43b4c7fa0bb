"""After the first backward pass: everything that is learned must have a gradient."""

import warnings

from torch import nn

from unfold.errors import ConfigError, listing
from unfold.training.whole import whole


class DeadParameterWarning(UserWarning):
    """A learned parameter whose first gradient is exactly zero."""


def audit(reconstructor: nn.Module) -> None:
    """Refuse learned parameters without a gradient; warn of those whose gradient is zero.

    Raises:
        ConfigError: names the parameters that no gradient reaches.
    """
    missing, zero = [], []
    for name, parameter in reconstructor.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            missing.append(config_name(name))
        elif not bool(whole(parameter.grad).any()):
            zero.append(config_name(name))
    if missing:
        raise ConfigError(
            f"trainable.learn: no gradient reaches {listing(missing)}. Leave them out, as in "
            "trainable.learn=[prior.*], or choose a model whose steps use them."
        )
    if zero:
        warnings.warn(
            f"The first gradient of {listing(zero)} is exactly zero: they do not change the loss "
            "so far. Leave them out of trainable.learn if that is meant.",
            DeadParameterWarning,
            stacklevel=2,
        )


def config_name(name: str) -> str:
    """`algo.raw_stepsize` as the config calls it, `algo.stepsize`."""
    head, _, tail = name.rpartition(".")
    return f"{head}.{tail.removeprefix('raw_')}"
