"""Make a finished run one that comes with unfold: python benchmarks/package_run.py RUN NAME.

Copies what a run is read from into unfold/pretrained/NAME, without what tells of the machine, and
seals it anew. The folder keeps its card, README.md, which people write.
"""

import json
import shutil
import sys
from dataclasses import replace

from unfold.config.overrides import key_of
from unfold.runs import files, seal
from unfold.runs.catalogue import PRETRAINED, read_reference

PLACES = ("runs_dir", "accept_code", "rerun", "trainer.progress")
"""Overrides that say where and how, not what."""

KEPT = ("version", "choices", "seed", "streams", "data", "pixels", "deterministic", "results")
"""Of the provenance."""


def main(run: str, name: str) -> None:
    """Copy, clean and seal."""
    reference, target = read_reference(run), PRETRAINED / name
    target.mkdir(parents=True, exist_ok=True)
    for file in ("weights.safetensors", "ranges.json", "results.json"):
        shutil.copyfile(reference.path / file, target / file)
    files.write_yaml(target / "config.yaml", {**reference.config, "runs_dir": "runs"})
    typed = [text for text in reference.overrides if key_of(text) not in PLACES]
    files.write_yaml(target / "overrides.yaml", typed)
    origin = json.loads((reference.path / "provenance.json").read_text(encoding="utf-8"))
    own = {key: origin[key] for key in KEPT} | {"git": {"commit": origin["git"]["commit"]}}
    own["config"] = {"file": "config.yaml", "sha256": seal.sha256(target / "config.yaml")}
    own["overrides"] = typed
    own["packages"] = {k: v for k, v in origin["packages"].items() if k in ("torch", "numpy")}
    files.write_json(target / "provenance.json", own)
    assert reference.status is not None
    seal.finish(target, replace(reference.status, host="", pid=0, launch=""))
    print(f"{target}: {sum(p.stat().st_size for p in target.iterdir()):,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
