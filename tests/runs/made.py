"""Finished runs that nothing was computed for."""

from unfold.runs import files, status
from unfold.runs.files import KEY, SCHEMA_VERSION
from unfold.runs.seal import finish


def make_run(root, name, *, state="finished", scores=None, choices=None, seed=0, **config):
    """A run directory with what a run writes."""
    path = root / name
    basic = {"seed": seed, "objective": "validation/psnr", KEY: SCHEMA_VERSION}
    files.write_yaml(path / "config.yaml", basic | config)
    files.write_yaml(path / "overrides.yaml", [f"seed={seed}"])
    origin = {
        "version": "0.1",
        "git": {"commit": "abc", "diff": ""},
        "sources": {"models/deq.py": "1"},
        "packages": {"torch": "2"},
        "machine": {"python": "3.11", "threads": 2, "cpu": "one", "gpus": []},
        "choices": choices or {"algo": "pgd", "physics": "motion_blur"},
        "seed": seed,
        "data": "images",
    }
    files.write_json(path / "provenance.json", origin)
    if scores is not None:
        files.write_json(path / "results.json", scores)
    return sealed(path, state)


def sealed(path, state="finished"):
    """The run with its status; sealed as it is now where it is finished."""
    now = status.start().now(state)
    if state == "finished":
        finish(path, now)
    else:
        status.write(path, now)
    return path
