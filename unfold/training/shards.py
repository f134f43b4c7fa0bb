"""Parts of a batch, computed in parallel threads, each as a separate process would."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unfold.data.example import Batch
from unfold.models.model import Solution


class Part(NamedTuple):
    """One part of a batch: its loss without a graph, and the gradients of its share of it."""

    solution: Solution
    loss: Float[Tensor, ""]
    gradients: tuple[Tensor | None, ...]


class Shards:
    """Runs forward and backward passes of equal parts of a batch in separate threads.

    PyTorch's threads are divided among the parts, so that each sums in the same order as a process
    with its share of the CPUs: oneDNN splits some sums by threads. It is also faster: parts
    synchronize less often than the threads of one convolution.

    The first batch is computed sequentially: networks that draw from PyTorch's generator or change
    their buffers remain sequential, since their results depend on the order of the parts.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None
        self._independent: bool | None = None

    def run(
        self,
        compute: Callable[[Batch], tuple[Solution, Float[Tensor, ""]]],
        batch: Batch,
        model: nn.Module,
        share: float,
    ) -> list[Part]:
        """The parts of a batch, in order.

        `compute` gives the solution and the loss of some images; `share` is that of one part in the
        loss. The size of the batch is a multiple of `count`.
        """
        parameters = [p for p in model.parameters() if p.requires_grad]

        def both_ways(part: Batch) -> Part:
            solution, loss = compute(part)
            weight = torch.full_like(loss, share)
            gradients = torch.autograd.grad(loss, parameters, weight, allow_unused=True)
            return Part(solution, loss.detach(), gradients)

        parts, pool = batch.split(self.count), self._threads()
        if self._independent:
            return [future.result() for future in [pool.submit(both_ways, p) for p in parts]]
        before = _state(model)
        found = [pool.submit(both_ways, part).result() for part in parts]
        if self._independent is None:
            self._independent = _state(model) == before
        return found

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            threads = torch.get_num_threads()
            workers, each = min(self.count, threads), max(1, threads // self.count)
            self._pool = ThreadPoolExecutor(
                workers, "unfold-part", initializer=torch.set_num_threads, initargs=(each,)
            )
        return self._pool

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def add_gradients(model: nn.Module, parts: Sequence[Part]) -> None:
    """Sum the gradients of the parts, in the order of processes."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    for part in parts:
        for parameter, gradient in zip(parameters, part.gradients, strict=True):
            if gradient is None:
                continue
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def _state(model: nn.Module) -> tuple[bytes, list[tuple[int, int]]]:
    """The state that a pure function of input and weights does not change."""
    generator = torch.get_rng_state().numpy().tobytes()
    return generator, [(id(buffer), buffer._version) for buffer in model.buffers()]
