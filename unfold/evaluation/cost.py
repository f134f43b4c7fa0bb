"""What one reconstruction costs: calls of networks and operators, time, memory."""

import json
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
CALLS = {"forward": 1, "adjoint": 1, "vjp": 1, "normal": 2, "solve_normal": 2}
"""What each call takes of A and A*; an iterative solve, what its iterations take."""


@contextmanager
def counted(net: nn.Module, operator: Operator) -> Iterator[Counter[str]]:
    """Counts calls of networks, the outermost of each, and of A and A*: two for A*A."""
    counts, kind = Counter[str](), type(operator)
    own = {name: vars(kind).get(name) for name in CALLS}

    def wrapped(call: Callable[..., Any], what: str, count: int, *, least: bool = False) -> Any:
        def inner(*arguments: Any, **named: Any) -> Any:
            before = counts[what]
            result = call(*arguments, **named)
            inside = counts[what] - before
            counts[what] = before + (max(count, inside) if least else count)
            return result

        return inner

    networks = [module for module in net.modules() if isinstance(module, Network)]
    try:
        for module in networks:
            vars(module)["forward"] = wrapped(module.forward, "network_calls", 1)
        for name, count in CALLS.items():
            least = name == "solve_normal"
            setattr(kind, name, wrapped(getattr(kind, name), "operator_calls", count, least=least))
        yield counts
    finally:
        for module in networks:
            del vars(module)["forward"]
        for name, before in own.items():
            delattr(kind, name) if before is None else setattr(kind, name, before)


@torch.no_grad()
def write_cost(context: Context, condition: Condition, batch: ImageBatch) -> None:
    """Reconstruct a batch once more, and write what it takes beside the rows, as `cost.json`.

    Seconds are of one image of the batch; memory, in MB, is the peak of a GPU meanwhile.
    """
    net, cuda = context.reconstructor, context.anchor.is_cuda
    case = measure(condition.physics, batch, context.seed, "test")
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    begin = time.perf_counter()
    with counted(net, case.operator) as counts:
        reconstruct(context, condition, batch, case).image.cpu()
    seconds = (time.perf_counter() - begin) / len(batch.names)
    found = {
        "parameters": sum(p.numel() for p in net.parameters() if p.requires_grad),
        **{name: counts[name] for name in ("network_calls", "operator_calls")},
        "seconds": seconds,
        **({"memory": round(torch.cuda.max_memory_allocated() / 1e6)} if cuda else {}),
    }
    write_text(context.folder / FILE, json.dumps(found, indent=2) + "\n")
