"""Errors of a training that runs out of memory or disk space, with remedies."""

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

CPU_MESSAGE = "can't allocate memory"
"""Part of the message of PyTorch's allocator on CPU, which has no error class for it."""

GB = 1e9


class OutOfMemoryError(RunError):
    """A training that needs more memory than there is."""


@contextmanager
def limits_explained(reconstructor: Reconstructor, data: "ImageData") -> Iterator[None]:
    """Turn errors of memory and disk into ones that say what to change.

    Args:
        reconstructor: what is trained.
        data: the images.

    Raises:
        OutOfMemoryError: out of memory.
        DiskFullError: the disk is full, for a file without its own message.
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
    """Whether PyTorch's or Python's allocator ran out of memory."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or CPU_MESSAGE in str(error)


def _advice(error: BaseException, reconstructor: Reconstructor, data: "ImageData") -> str:
    model = reconstructor.model
    values = [f"batch_size = {data.batch_size}", f"crop = {data.crop}"]
    remedies = ["a smaller batch_size or crop"]
    if isinstance(model, DEQ):
        values.append(f"max_iterations = {model.max_iterations}")
    else:
        remedies.insert(0, "a DEQ (keeps one step)")
    if isinstance(model, Unfolded):
        values.append(f"iterations = {model.iterations}")
        if not isinstance(model.backward, Checkpoint):
            remedies.insert(0, "the Checkpoint backward pass (keeps only iterates, same gradient)")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"out of memory in training, at {', '.join(values)}; the peak was {_peak()}. Use "
        f"{', or '.join(remedies)}. ({reason})"
    )


def _peak() -> str:
    on_device = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    if on_device:
        return f"{on_device / GB:.2f} GB on the device"
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kilobytes elsewhere
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return f"{held / GB:.2f} GB in this process"
