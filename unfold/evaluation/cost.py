"""What one reconstruction costs: calls of networks and operators, time, memory."""

import json
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from unfold.disk import write_text
from unfold.evaluation.base import Condition, Context, ImageBatch, measure, reconstruct
from unfold.parameters.networks import Network
from unfold.physics.operator import Operator

FILE = "cost.json"
CALLS = ("forward", "adjoint", "normal", "solve_normal", "vjp")


@contextmanager
def counted(net: nn.Module, operator: Operator) -> Iterator[Counter[str]]:
    """Counts calls of networks, and of A, A*, A*A or a solve with them: the outermost of each."""
    counts, depth, kind = Counter[str](), Counter[str](), type(operator)
    own = {name: vars(kind).get(name) for name in CALLS}

    def wrapped(call: Callable[..., Any], what: str) -> Callable[..., Any]:
        def inner(*arguments: Any, **named: Any) -> Any:
            counts[what] += depth[what] == 0
            depth[what] += 1
            try:
                return call(*arguments, **named)
            finally:
                depth[what] -= 1

        return inner

    networks = [module for module in net.modules() if isinstance(module, Network)]
    try:
        for module in networks:
            vars(module)["forward"] = wrapped(module.forward, "network_calls")
        for name in CALLS:
            setattr(kind, name, wrapped(getattr(kind, name), "operator_calls"))
        yield counts
    finally:
        for module in networks:
            del vars(module)["forward"]
        for name, before in own.items():
            delattr(kind, name) if before is None else setattr(kind, name, before)


@torch.no_grad()
def write_cost(context: Context, condition: Condition, batch: ImageBatch) -> None:
    """Reconstruct a batch once more, and write what it takes beside the rows, as `cost.json`.

    Seconds are of one image of the batch; memory, in MB, is the peak of the device, or on a CPU of
    the process.
    """
    net, cuda = context.reconstructor, context.anchor.is_cuda
    case = measure(condition.physics, batch, context.seed, "test")
    begin = time.perf_counter()
    with counted(net, case.operator) as counts:
        reconstruct(context, condition, batch, case).image.cpu()
    seconds = (time.perf_counter() - begin) / len(batch.names)
    resident = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = torch.cuda.max_memory_allocated() if cuda else resident
    found = {
        "parameters": sum(p.numel() for p in net.parameters() if p.requires_grad),
        **{name: counts[name] for name in ("network_calls", "operator_calls")},
        "seconds": seconds,
        "memory": round(peak / 1e6),
    }
    write_text(context.folder / FILE, json.dumps(found, indent=2) + "\n")
