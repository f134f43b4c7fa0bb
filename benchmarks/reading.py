"""Slices of 256x256 from HDF5, per second and core, and memory over training batches.

Prints each value and its bar:

    python benchmarks/reading.py [--gigabytes 1] [--steps 1000] [--folder /tmp]

The files are generated there and removed. Growth is that of the resident memory of the process,
from the step at which the cache is full.
"""

import argparse
import os
import tempfile
import time
from itertools import islice
from pathlib import Path

import h5py
import numpy as np

from unfold.data import measured, volumes
from unfold.data.kspace import KspaceData
from unfold.data.volumes import VolumeData

SIDE, SLICES = 256, 32


def write(folder: Path, gigabytes: float) -> int:
    """Volumes of 32 slices in HDF5; the number of files."""
    draw = np.random.default_rng(0)
    files = max(int(gigabytes * 2**30 / (4 * SIDE**2 * SLICES)), 12)
    for i in range(files):
        with h5py.File(folder / f"{i:04d}.h5", "w") as file:
            values = draw.random((SLICES, SIDE, SIDE), np.float32)
            file.create_dataset("im", data=values, chunks=(1, SIDE, SIDE))
    return files


def resident() -> float:
    """MiB of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def rate_of(data: VolumeData | KspaceData, count: int) -> float:
    """Examples per second of CPU time, read for the first time."""
    begin = time.process_time()
    read = sum(1 for _ in islice(iter(data.examples("train")), count))
    return read / (time.process_time() - begin)


def main() -> None:
    """Print every value."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--folder", default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        folder = Path(place)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        (folder / "set").mkdir()
        files = write(folder / "set", given.gigabytes)
        measured.MEMORY = volumes.MEMORY = 2**26  # a cache that the steps fill
        begin = time.process_time()
        data = VolumeData(0, root=str(folder / "set"), key="im", batch_size=1)
        data.check()
        took = time.process_time() - begin
        print(f"first start: {files * SLICES / took:.0f} slices/s of hashing and checking")
        begin = time.process_time()
        data = VolumeData(0, root=str(folder / "set"), key="im", batch_size=1)
        data.check()
        print(f"second start: {time.process_time() - begin:.2f} s")
        data = VolumeData(0, root=str(folder / "set"), key="im", batch_size=1)
        before, marks = resident(), []
        loader = data.train_loader()
        for step in range(given.steps):
            if step % len(loader) == 0:
                batches = iter(loader)
            next(batches)
            if step % max(given.steps // 5, 1) == 0:
                marks.append(f"{resident() - before:.0f}")
        print(f"memory above the start over {given.steps} steps, MiB: {', '.join(marks)}")
        print(f"images from HDF5: {rate_of(data, 1000):.0f} slices/s/core, bar 200")
        (folder / "k").mkdir()
        draw = np.random.default_rng(0)
        for i in range(12):
            image = draw.random((SLICES, SIDE, SIDE)) + 9
            k = np.fft.fftshift(np.fft.fft2(image), (-2, -1)).astype(np.complex64)
            with h5py.File(folder / f"k/{i}.h5", "w") as file:
                file.create_dataset("kspace", data=k, chunks=(1, SIDE, SIDE))
        scans = KspaceData(0, root=str(folder / "k"))
        scans.check()
        print(f"k-space of one coil: {rate_of(scans, 300):.0f} slices/s/core, bar 200")


if __name__ == "__main__":
    main()
