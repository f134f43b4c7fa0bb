"""The processes of a distributed training, as torchrun, srun or Lightning started them."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from unfold.errors import ConfigError

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Set by torchrun, by torchrun and Lightning, and by srun."""

LAUNCHES = (
    ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT"),
    ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"),
    ("UNFOLD_LAUNCH",),
)
"""What has the same value in all processes of a launch: by torchrun, by srun, by Lightning."""


def rank() -> int:
    """The rank of this process; 0 where it is the only one."""
    given = (os.environ.get(name, "") for name in RANKS)
    return max((int(value) for value in given if value.isdigit()), default=0)


def launch() -> str:
    """What distinguishes the processes of this launch from those of others; empty for none."""
    names = next((names for names in LAUNCHES if names[0] in os.environ), ())
    return " ".join(os.environ.get(name, "-") for name in names)


@contextmanager
def launched() -> Iterator[None]:
    """Let the ranks that Lightning starts by repeating this command know its launch."""
    if launch():
        yield
        return
    os.environ["UNFOLD_LAUNCH"] = uuid.uuid4().hex
    try:
        yield
    finally:
        del os.environ["UNFOLD_LAUNCH"]


def check_launch(nodes: int) -> None:
    """Refuse several machines without the launcher that starts their processes.

    Raises:
        ConfigError: says how to start them.
    """
    if nodes > 1 and not {"TORCHELASTIC_RUN_ID", "SLURM_PROCID"} & set(os.environ):
        raise ConfigError(
            f"trainer.nodes = {nodes}: several machines start through torchrun or srun, one "
            f"process per device. Write torchrun --nnodes {nodes} --nproc-per-node DEVICES "
            "--rdzv-endpoint HOST:PORT train.py ... on each, or use hydra/launcher=slurm."
        )
