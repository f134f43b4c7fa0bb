"""What was read, in bounded memory."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from unfold.data.example import Example

T = TypeVar("T")


class Cache(Generic[T]):
    """Values by key; those that were used longest ago are dropped.

    Args:
        size: bytes of all together.
    """

    def __init__(self, size: int) -> None:
        self.free = size
        self.held: OrderedDict[Any, tuple[T, int]] = OrderedDict()

    def get(self, key: Any) -> T | None:
        """The value, which becomes the last to be dropped."""
        if key not in self.held:
            return None
        self.held.move_to_end(key)
        return self.held[key][0]

    def put(self, key: Any, value: T, size: int) -> None:
        """Keep a value of so many bytes, if it is smaller than the cache."""
        self.free += self.held.pop(key, (value, 0))[1] - size
        self.held[key] = value, size
        while self.free < 0:
            self.free += self.held.popitem(last=False)[1][1]


@dataclass(frozen=True, eq=False)
class Lazy(Sequence[Any]):
    """f of each item, computed when it is asked for."""

    f: Callable[[Any], Any]
    items: Sequence[Any]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        found = self.items[index]
        return Lazy(self.f, found) if isinstance(index, slice) else self.f(found)


def size_in_memory(example: Example) -> int:
    """Bytes of the tensors of an example."""
    return sum(t.nbytes for t in example.known.values())
