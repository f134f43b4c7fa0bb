"""A SLURM cluster of one machine: munge, the controller and one node, each a process."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getuser
from pathlib import Path
from tempfile import mkdtemp

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "munged", "mungekey")

INSTALL = "apt-get install slurm-wlm munge"

MEMORY = 8000
"""Of the node, in MB, as far as the jobs of the trial are concerned."""

SETTINGS = """
ClusterName=unfold
SlurmctldHost={host}
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,requeue_delay=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=60
MpiDefault=none
NodeName={host} CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=jobs Nodes={host} Default=YES PriorityTier=1 MaxTime=INFINITE GraceTime=60 State=UP
PartitionName=urgent Nodes={host} PriorityTier=9 PreemptMode=OFF MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """What must be installed; None where all is there."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=path()) is None]
    if not lacking:
        return None
    return f"SLURM is not installed ({', '.join(lacking)}): {INSTALL}"


def path() -> str:
    """The search path with the folders of daemons, which users often lack."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def cluster(cpus: int) -> Iterator[dict[str, str]]:
    """A running cluster; the variables with which its commands find it."""
    # A socket's path is short, and munge refuses folders that others may write to.
    folder = Path(mkdtemp(prefix="slurm-", dir="/run" if os.access("/run", os.W_OK) else "/tmp"))
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host = socket.gethostname().partition(".")[0]
    settings = folder / "slurm.conf"
    filled = SETTINGS.format(
        host=host, user=getuser(), ports=free_ports(2), folder=folder, cpus=cpus, memory=MEMORY
    )
    settings.write_text(filled)
    variables = {"SLURM_CONF": str(settings), "PATH": path()}
    given = os.environ | variables
    munge = [
        "munged",
        "--foreground",
        "--force",
        f"--socket={folder}/munge.socket",
        f"--key-file={folder}/munge.key",
        f"--log-file={folder}/munged.log",
        f"--pid-file={folder}/munged.pid",
        f"--seed-file={folder}/munged.seed",
    ]
    subprocess.run(["mungekey", "-c", "-k", f"{folder}/munge.key"], env=given, check=True)
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for line in (munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", host]):
            with (folder / f"{line[0]}.out").open("wb") as out:
                daemons.append(subprocess.Popen(line, env=given, stdout=out, stderr=out))
            time.sleep(1)
        _wait_for_node(given, folder)
        yield variables
    finally:
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in reversed(daemons):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_node(given: dict[str, str], folder: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        said = subprocess.run(
            ["sinfo", "--noheader", "-o", "%T"], env=given, capture_output=True, text=True
        )
        if "idle" in said.stdout:
            return
        time.sleep(1)
    logs = [one for one in folder.iterdir() if one.suffix in (".log", ".out")]
    ends = "\n".join(f"{one.name}: {one.read_text(errors='replace')[-600:]}" for one in logs)
    raise RuntimeError(f"SLURM did not start:\n{ends}")
