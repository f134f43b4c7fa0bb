"""What launchers on this machine have in common: each of their jobs has a share of it."""

from abc import ABC
from dataclasses import dataclass

from unfold.errors import ConfigError
from unfold.launchers.launcher import Launcher
from unfold.launchers.shares import check_gpus, share_of


@dataclass(frozen=True)
class ThisMachine(Launcher, ABC):
    """Starts jobs with an equal share of the CPUs and the GPUs of this machine each.

    Args:
        jobs: how many run at a time.
        gpus: of each job; null for an equal share, 0 for none.
    """

    jobs: int = 1
    gpus: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gpus is not None and self.gpus < 0:
            raise ConfigError(f"gpus = {self.gpus}: must be 0 or above.")

    def require(self) -> None:
        """Refuse as well where there are fewer GPUs than the jobs ask for."""
        super().require()
        check_gpus(self.jobs, self.gpus)

    def share(self, slot: int) -> dict[str, str]:
        """The variables that keep the job in a place to its part of the machine."""
        return share_of(slot, self.jobs, self.gpus)
