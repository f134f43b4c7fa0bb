"""Networks whose weights, gradients and moments are spread over the processes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.optim import Optimizer

from unfold.parameters.declare import Network
from unfold.training.checkpoints.weights import read_checkpoint
from unfold.training.whole import (
    optimizer_state,
    put_optimizer_state,
    put_weights,
    weights_of,
    whole,
)


class Sharded(ModelParallelStrategy):
    """Each process keeps a part of every network, and all of it only while it is computed.

    Scalars of algorithms and priors stay whole in every process; their gradients are averaged
    after each backward pass. Training states are written in one piece, in the form of a single
    process, so that any strategy goes on from them.

    Source: Zhao et al., PyTorch FSDP: experiences on scaling fully sharded data parallel, VLDB 16
    (2023), in its second form, `torch.distributed.fsdp.fully_shard`.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Share the batch among all processes of all machines."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def shard(self, reconstructor: nn.Module) -> None:
        """Spread every network of a reconstructor, unless it is spread already."""
        mesh = self.device_mesh["data_parallel"]
        for network in _outermost(reconstructor):
            if not isinstance(network, FSDPModule):
                fully_shard(network.to(self.root_device), mesh=mesh)

    def post_backward(self, closure_loss: Tensor) -> None:
        """Average the gradients of what is whole; those of networks are averaged already."""
        assert self.lightning_module is not None
        for parameter in self.lightning_module.parameters():
            if parameter.grad is not None and whole(parameter) is parameter:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= self.world_size

    def lightning_module_state_dict(self) -> dict[str, Any]:
        assert self.lightning_module is not None
        return weights_of(self.lightning_module)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return optimizer_state(optimizer)

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a training state in one piece, on every process, and spread it."""
        state = read_checkpoint(Path(self.broadcast(checkpoint_path)))
        assert self.lightning_module is not None
        put_weights(self.lightning_module, state["state_dict"])
        for optimizer, kept in zip(self.optimizers, state["optimizer_states"], strict=True):
            put_optimizer_state(optimizer, kept)
        return state


def _outermost(module: nn.Module) -> Iterator[Network]:
    """The networks within a module that are part of no other."""
    for child in module.children():
        if isinstance(child, Network):
            yield child
        else:
            yield from _outermost(child)
