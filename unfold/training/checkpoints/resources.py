"""What a training says where its machine is too small for it: memory, room on the disk."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from unfold.disk import FULL, DiskFullError
from unfold.errors import RunError
from unfold.models.deq import DEQ
from unfold.models.unfolded import Checkpoint, Unfolded
from unfold.reconstructor import Reconstructor

if TYPE_CHECKING:
    from unfold.data.image_data import ImageData

CPU_SAYS = "can't allocate memory"
"""Part of the words of PyTorch's allocator on CPU, which has no class of error for it."""

GB = 1e9


class OutOfMemoryError(RunError):
    """A training that needs more memory than there is."""


@contextmanager
def limits_explained(reconstructor: Reconstructor, data: "ImageData") -> Iterator[None]:
    """Turn what the machine refuses into an error that says what to change.

    Args:
        reconstructor: what is trained.
        data: what it is trained on.

    Raises:
        OutOfMemoryError: the memory is not enough.
        DiskFullError: there is no room for a file that no other message covers.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(_advice(error, reconstructor, data)) from error
    except OSError as error:
        if error.errno not in FULL:
            raise
        where = f" ({error.filename})" if error.filename else ""
        raise DiskFullError(
            f"{error.strerror}{where}. Free space; the same command continues from the newest "
            "checkpoint."
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator of PyTorch, or Python's own, found no memory."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or CPU_SAYS in str(error)


def _advice(error: BaseException, reconstructor: Reconstructor, data: "ImageData") -> str:
    model = reconstructor.model
    values = [f"data.batch_size = {data.batch_size}", f"data.crop = {data.crop}"]
    if isinstance(model, Unfolded):
        values.append(f"model.iterations = {model.iterations}")
    elif isinstance(model, DEQ):
        values.append(f"model.max_iterations = {model.max_iterations}")
    remedies = []
    if isinstance(model, Unfolded) and not isinstance(model.backward, Checkpoint):
        remedies.append("model/backward=checkpoint (keeps the iterates only, the same gradient)")
    if not isinstance(model, DEQ):
        remedies.append("model=deq (keeps one step)")
    remedies.append("a smaller data.batch_size or data.crop")
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"out of memory in training, at {', '.join(values)}; the peak was {_peak()}. Take "
        f"{', or '.join(remedies)}. ({said})"
    )


def _peak() -> str:
    on_device = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    if on_device:
        return f"{on_device / GB:.2f} GB on the device"
    # In kilobytes, but on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return f"{held / GB:.2f} GB in this process"
