"""The memory layout of networks: channels last, where convolutions are faster in it."""

import torch
from torch import nn


def keep_channels_last(network: nn.Module) -> None:
    """Lay the filters of every 2-D convolution out channels last; images follow their filters.

    Only theirs: tensors that a network folds into filters itself, such as those of a firmly
    nonexpansive one, have as many axes as it likes, and gain nothing.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
