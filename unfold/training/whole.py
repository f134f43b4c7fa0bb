"""Tensors and weights in one piece, wherever their pieces are."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_spread(t: Tensor) -> "TypeGuard[DTensor]":
    """Whether a tensor is one in pieces."""
    from torch.distributed.tensor import DTensor  # a mistake need not wait for this import

    return isinstance(t, DTensor)


def whole(t: Tensor) -> Tensor:
    """The tensor; of one that is spread over processes all pieces, which every process asks for."""
    return t.full_tensor() if is_spread(t) else t


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers in one piece, on the CPU where they were spread."""
    state = module.state_dict().items()
    return {n: whole(t).cpu() if is_spread(t) else t.detach() for n, t in state}


def spread_like(t: Tensor, pattern: Tensor) -> Tensor:
    """A tensor in pieces, as the pattern of its shape is; as it is where the pattern is whole."""
    if not is_spread(pattern) or t.shape != pattern.shape:
        return t
    from torch.distributed.tensor import distribute_tensor

    moved = t.to(pattern.device)
    return distribute_tensor(moved, pattern.device_mesh, pattern.placements)


@torch.no_grad()
def put_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights in one piece into a module whose own are spread."""
    for name, own in module.state_dict().items():
        own.copy_(spread_like(weights[name], own))


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of an optimiser in one piece, as that of a single process."""
    state = optimizer.state_dict()
    moments = {
        key: {name: whole(v).cpu() if isinstance(v, Tensor) else v for name, v in one.items()}
        for key, one in state["state"].items()
    }
    return {**state, "state": moments}


def put_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Give an optimiser of spread parameters a state in one piece."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    ids = [key for group in state["param_groups"] for key in group["params"]]
    like = dict(zip(ids, parameters, strict=True))
    moments = {
        key: {
            name: spread_like(v, like[key]) if isinstance(v, Tensor) else v
            for name, v in one.items()
        }
        for key, one in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})


def gradient_norms(module: nn.Module) -> list[Tensor]:
    """The Euclidean norm of every gradient there is, over all its pieces."""
    return [whole(p.grad.norm()) for p in module.parameters() if p.grad is not None]


def gradient_norm(module: nn.Module) -> Tensor:
    """The Euclidean norm of all gradients together."""
    total: Tensor = torch.stack(gradient_norms(module)).norm()
    return total


@torch.no_grad()
def clip_gradients(module: nn.Module, limit: float) -> None:
    """Scale all gradients alike, so that their norm is at most a limit."""
    factor = (limit / (gradient_norm(module) + 1e-6)).clamp(max=1.0)
    for parameter in module.parameters():
        if parameter.grad is not None:
            parameter.grad.mul_(float(factor))
