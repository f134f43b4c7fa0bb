"""`make gpu`: train, resume, bf16, evaluate, an equilibrium and device checks on a real GPU."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tests.device.checks import (
    MODELS,
    components,
    forward,
    measure_and_solve,
    operators,
    physics_names,
    training_step,
)

ROOT = Path(__file__).parents[2]
SHORT = ("trainer.accelerator=gpu", "trainer.progress=false", "evaluation=none")


def train(runs: Path, *overrides: str) -> Path:
    """A run to its end; its directory."""
    command = [sys.executable, str(ROOT / "train.py"), f"runs_dir={runs}", *SHORT, *overrides]
    subprocess.run(command, check=True, cwd=ROOT)
    return newest(runs)


def newest(runs: Path) -> Path:
    found = sorted(runs.glob("*/*/status.json"), key=lambda path: path.stat().st_mtime)
    return found[-1].parent


def state_of(run: Path) -> str:
    return str(json.loads((run / "status.json").read_text())["state"])


def check_training(runs: Path) -> None:
    assert state_of(train(runs, "trainer.max_steps=30", "name=train")) == "finished"


def check_resume(runs: Path) -> None:
    """Stopped by SIGTERM after its first checkpoint, the same command finishes the run."""
    arguments = ["trainer.max_steps=400", "trainer.checkpoint_every=20", "name=resume"]
    command = [sys.executable, str(ROOT / "train.py"), f"runs_dir={runs}", *SHORT, *arguments]
    process = subprocess.Popen(command, cwd=ROOT)
    while process.poll() is None and not list(runs.glob("*/*/checkpoints/*.ckpt")):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    assert state_of(newest(runs)) == "preempted"
    assert state_of(train(runs, *arguments)) == "finished"


def check_half_precision(runs: Path) -> None:
    train(runs, "trainer.max_steps=30", "trainer.precision=bf16", "name=bf16")


def check_equilibrium(runs: Path) -> None:
    train(runs, "algo=admm", "model=deq", "prior=nonexpansive", "trainer.max_steps=10", "name=deq")


def check_evaluation(runs: Path) -> None:
    run = train(runs, "trainer.max_steps=5", "name=evaluate")
    code = "from unfold.cli.main import main; main()"
    command = [sys.executable, "-c", code, "evaluate", f"run={run}", "evaluation.noise_levels=[]"]
    subprocess.run(command, check=True, cwd=ROOT)


def check_models(runs: Path) -> None:
    for name, overrides in MODELS.items():
        made = components(*overrides)
        run = forward(made, "cuda") if name == "classical" else training_step(made, "cuda").solution
        assert run.image.is_cuda and bool(run.image.isfinite().all()), name


def check_operators(runs: Path) -> None:
    for name in physics_names():
        found = measure_and_solve(components(*operators(name)), "cuda")
        assert all(t.is_cuda and bool(t.isfinite().all()) for t in found), name


CHECKS: tuple[Callable[[Path], None], ...] = (
    check_training,
    check_resume,
    check_half_precision,
    check_equilibrium,
    check_evaluation,
    check_models,
    check_operators,
)


def main() -> int:
    if not torch.cuda.is_available():
        print("make gpu: skipped, no GPU is available")
        return 0
    failed = 0
    for check in CHECKS:
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            try:
                check(Path(folder))
                verdict = "holds"
            except Exception as error:
                failed += 1
                verdict = f"FAILED: {type(error).__name__}: {error}"
            print(f"{check.__name__:<22} {time.monotonic() - start:6.1f} s  {verdict}", flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
