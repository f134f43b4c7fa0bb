"""`python -m tests.testing`: every seeded fault once, and sound components under 1,000 seeds.

Those that take long see every tenth seed.
"""

import sys
import time
import warnings

import torch

from tests.testing.every import FAULTS, SOUND
from tests.testing.faults import SEEDED, SLOW

SEEDS = 1000


def main() -> int:
    """Print what was missed and what was accused; the last line is the figure."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    missed = [name for name, fault in FAULTS.items() if not fault().failed]
    print(f"{len(FAULTS) - len(missed)} of {len(FAULTS)} faults found; missed: {missed or 'none'}")
    accused: list[str] = []
    for name, sound in SOUND.items():
        accused += [f"{name}: {check}" for check in sound().failed]
    began, count = time.monotonic(), 0
    for seed in range(SEEDS):
        for name, sound in SEEDED.items():
            if name in SLOW and seed % 10:
                continue
            count += 1
            accused += [f"{name}, seed {seed}: {check}" for check in sound(seed).failed]
        if seed % 100 == 99:
            print(f"{seed + 1} seeds, {time.monotonic() - began:.0f} s", flush=True)
    for line in accused[:20]:
        print(line)
    print(
        f"kit: {len(FAULTS) - len(missed)}/{len(FAULTS)} faults found, {len(accused)} false alarms "
        f"in {count + len(SOUND)} reports over {SEEDS} seeds"
    )
    return 1 if missed or accused else 0


if __name__ == "__main__":
    sys.exit(main())
