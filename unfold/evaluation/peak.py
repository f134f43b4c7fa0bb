"""The peak memory of tensors, whatever allocator holds them."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode


class PeakMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside `with`, the most bytes that the tensors made there held at one time.

    It sees every operation of this thread, forward and backward, and costs time: measure the
    duration without it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0
        self._now = 0
        self._held: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(item, Tensor):
                self._saw(item)
        return result

    def _saw(self, t: Tensor) -> None:
        storage = t.untyped_storage()
        reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        known = self._held.get(reference.cdata)
        if known is not None and not _gone(known[0]):
            return
        self._held[reference.cdata] = reference, storage.nbytes()
        self._now += storage.nbytes()
        if self._now > self.bytes:  # only a new peak needs to know what has gone
            self._held = {k: v for k, v in self._held.items() if not _gone(v[0])}
            self._now = sum(size for _, size in self._held.values())
            self.bytes = max(self.bytes, self._now)


def _gone(reference: StorageWeakRef) -> bool:
    return bool(reference.expired())  # type: ignore[no-untyped-call]
