"""A Ray cluster of one machine: a head without CPUs and workers of one, each a process."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from tests.clusters.processes import kill_tree
from tests.clusters.slurm import free_ports

INSTALL = "pip install 'unfold-imaging[ray]'"

PROGRAM = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]


def missing() -> str | None:
    """What must be installed; None where all is there."""
    return None if importlib.util.find_spec("ray") else f"Ray is not installed: {INSTALL}"


class Cluster:
    """A running cluster.

    Args:
        folder: for its logs.
        workers: how many; each has one CPU.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        (port,) = free_ports(1)
        self.folder, self.address = folder, f"127.0.0.1:{port}"
        head = ["--head", f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false"]
        self.head = self._start("head", *head, "--num-cpus=0")
        self._wait_for(1)
        self.workers: list[subprocess.Popen[bytes]] = []
        for _ in range(workers):
            self.add_worker()

    def add_worker(self) -> None:
        """Start a worker, and wait until the cluster knows it."""
        name = f"worker {len(self.workers)}"
        self.workers.append(self._start(name, f"--address={self.address}", "--num-cpus=1"))
        self._wait_for(1 + sum(worker.poll() is None for worker in self.workers))

    def kill_worker(self) -> None:
        """End the oldest living worker with all its processes, as a machine that is lost."""
        worker = next(one for one in self.workers if one.poll() is None)
        kill_tree(worker.pid)
        worker.wait()

    def close(self) -> None:
        """End every process."""
        for one in (*self.workers, self.head):
            if one.poll() is None:
                kill_tree(one.pid)
                one.wait()

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.out").open("wb") as out:
            return subprocess.Popen(
                [*PROGRAM, *arguments, "--object-store-memory=100000000", "--disable-usage-stats"],
                env=os.environ | {"RAY_DISABLE_IMPORT_WARNING": "1"},
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _wait_for(self, nodes: int) -> None:
        line = [
            sys.executable,
            "-c",
            "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False);"
            "sys.exit(sum(node['Alive'] for node in ray.nodes()) != int(sys.argv[2]))",
            self.address,
            str(nodes),
        ]
        until = time.monotonic() + 90
        while subprocess.run(line, capture_output=True).returncode:
            if time.monotonic() > until:
                texts = [one.read_text()[-600:] for one in self.folder.glob("*.out")]
                raise RuntimeError(f"Ray did not start {nodes} nodes:\n" + "\n".join(texts))
            time.sleep(1)


@contextmanager
def cluster(workers: int) -> Iterator[Cluster]:
    """A running cluster, ended with all its processes."""
    folder = Path(mkdtemp(prefix="ray-"))  # a socket's path is short
    one = None
    try:
        one = Cluster(folder, workers)
        yield one
    finally:
        if one is not None:
            one.close()
        shutil.rmtree(folder, ignore_errors=True)
