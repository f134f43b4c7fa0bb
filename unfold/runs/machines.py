"""A run of several machines: the first one writes its directory, the others do as it says."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from unfold.errors import ConfigError, RunError

PATIENCE = 600.0
"""Seconds that the machines wait for one another: they start and read their images first."""

SLURM = ("SLURM_NODEID", "SLURM_JOB_NODELIST", "SLURM_JOB_ID")
"""What SLURM tells every task: which machine it is on, which there are, and the job."""


@dataclass(frozen=True)
class Machines:
    """One of the machines of a run.

    Args:
        index: which one, from 0.
        count: how many there are.
        address: of the first one.
        port: there, of the gradients; the next one is for what the machines agree on before.
    """

    index: int
    count: int
    address: str
    port: int

    def variables(self) -> dict[str, str]:
        """What PyTorch and Lightning find the other machines by."""
        return {
            "NODE_RANK": str(self.index),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }


def machines_of(count: int, environment: Mapping[str, str]) -> Machines | None:
    """Which of the machines of a run this one is; None where there is one.

    Args:
        count: how many there are.
        environment: `NODE_RANK`, `MASTER_ADDR` and `MASTER_PORT`, or what SLURM sets.

    Raises:
        ConfigError: the environment does not say, or says something else.
    """
    if count == 1:
        return None
    if all(name in environment for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")):
        found = _as_told(count, environment)
    elif all(name in environment for name in SLURM):
        number, port = (
            environment["SLURM_NODEID"],
            15000 + 2 * (int(environment["SLURM_JOB_ID"]) % 10000),
        )
        found = Machines(int(number), count, first_host(environment["SLURM_JOB_NODELIST"]), port)
    else:
        raise ConfigError(
            f"trainer.nodes = {count}: which machine is this? Start the same command on each of "
            "them with NODE_RANK=0, 1, … and, for all, MASTER_ADDR and MASTER_PORT of the first; "
            "or through SLURM, one task per machine (hydra/launcher=slurm hydra.launcher.nodes="
            f"{count})."
        )
    if not found.index < count:
        raise ConfigError(
            f"trainer.nodes = {count}: this machine is number {found.index}, counted from 0; "
            "there are more of them than trainer.nodes says."
        )
    return found


def _as_told(count: int, environment: Mapping[str, str]) -> Machines:
    for name in ("NODE_RANK", "MASTER_PORT"):
        if not environment[name].isdigit():
            raise ConfigError(f"{name} = {environment[name]}: a number from 0 is expected.")
    port = int(environment["MASTER_PORT"])
    if not 1 <= port < 65535:
        raise ConfigError(f"MASTER_PORT = {port}: must be from 1 to 65534; the next is used too.")
    return Machines(int(environment["NODE_RANK"]), count, environment["MASTER_ADDR"], port)


def first_host(names: str) -> str:
    """The first machine of a list as SLURM writes it, `gpu[017-020,22]-ib,cpu3`."""
    found = re.match(r"([^,\[]*)(?:\[([^\],-]+)[^\]]*\]([^,\[]*))?", names)
    assert found is not None, "every part may be empty"
    return "".join(part or "" for part in found.groups())


class Meeting:
    """What the first machine tells the others before a run begins.

    Args:
        machines: this one and the others.

    Raises:
        RunError: the first machine is not reached.
    """

    def __init__(self, machines: Machines) -> None:
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        self._machines = machines
        try:
            self._store: TCPStore | None = TCPStore(
                machines.address,
                machines.port + 1,
                is_master=machines.index == 0,
                wait_for_workers=False,
                timeout=timedelta(seconds=PATIENCE),
            )
        except RuntimeError as error:
            raise RunError(
                f"machine {machines.index} of {machines.count} does not reach the first one at "
                f"{machines.address}, port {machines.port + 1}: {_reason(error)}."
            ) from error

    def tell(self, name: str, content: Mapping[str, Any]) -> None:
        """Tell the others what there is to do, if all have the same run in mind.

        Args:
            name: of the run; the same configuration, images and code give the same one.
            content: for the others.

        Raises:
            RunError: a machine does not answer, or has another run in mind.
        """
        others = self._others("machine")
        different = [f"machine {i}: {other}" for i, other in others.items() if other != name]
        if different:
            raise RunError(
                "the machines do not have the same run in mind: "
                f"{', '.join([f'machine 0: {name}', *different])}. Start the same command, with "
                "the same images, on each."
            )
        self._publish(content)

    def refuse(self, error: Exception) -> None:
        """Tell the others that there is no run; nothing where they were told of one."""
        if self._store is None:
            return
        self._store.set_timeout(timedelta(seconds=min(PATIENCE, 60)))
        with suppress(RunError):  # the error itself is raised here, whoever hears of it
            self._publish({"error": str(error)})

    def hear(self, name: str) -> dict[str, Any]:
        """What the first machine says, once it does.

        Args:
            name: of the run that this machine has in mind.

        Raises:
            RunError: it refuses, or says nothing.
        """
        assert self._store is not None
        own = self._machines.index
        try:
            self._store.set(f"machine {own}", name)
            content: dict[str, Any] = json.loads(self._store.get("run"))
            self._store.set(f"heard {own}", "yes")
        except RuntimeError as error:
            raise RunError(f"the first machine says nothing: {_reason(error)}.") from error
        if "error" in content:
            raise RunError(f"the first machine refuses: {content['error']}")
        return content

    def _publish(self, content: Mapping[str, Any]) -> None:
        assert self._store is not None
        self._store.set("run", json.dumps(content))
        self._others("heard")
        self._store = None  # gives the port back

    def _others(self, key: str) -> dict[int, str]:
        """What each of the others wrote, once all have."""
        assert self._store is not None
        others = range(1, self._machines.count)
        try:
            return {i: self._store.get(f"{key} {i}").decode() for i in others}
        except RuntimeError as error:
            self._store = None
            raise RunError(f"a machine does not answer: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
