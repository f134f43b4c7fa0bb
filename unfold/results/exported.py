"""Finished weights as a folder for other programs: `weights.safetensors`, a graph, a model card."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from unfold.config.check import Components
from unfold.disk import write_bytes, write_text
from unfold.results.graph import Graph
from unfold.results.templates import rendered
from unfold.runs import files, seal, status
from unfold.runs.catalogue import Entry
from unfold.runs.identity import names_weights

KEPT = ("version", "choices", "pixels", "data", "seed", "folders", "weights")
"""What `unfold.load` and a reader need of the provenance; the rest is of the author's machine."""


def export(
    reference: Entry, components: Components, form: str, output: Path, graph: Graph | None
) -> None:
    """Write the folder, sealed as a run is, so that `unfold.load` and `reconstruct` take it.

    Unlike a run it may be renamed.
    """
    from unfold.training.checkpoints.weights import save_weights

    net, origin = components.reconstructor, files.origin_of(reference.path)
    commit = (origin["git"] or {}).get("commit", "unknown")
    kept = {name: origin[name] for name in KEPT if name in origin} | {"git": {"commit": commit}}
    ranges = files.optional(reference.path / files.RANGES)
    config, overrides = _portable(reference, trains=net.model.trains)
    card = rendered(
        "card.md",
        run=reference,
        form=form,
        physics=components.physics,
        data=components.data,
        ranges=ranges,
        overrides=overrides,
        origin=kept,
        learned={name: p.numel() for name, p in net.named_parameters() if p.requires_grad},
        graph=graph,
    )
    output.mkdir(parents=True)
    try:
        files.write_yaml(output / "config.yaml", config)
        files.write_yaml(output / "overrides.yaml", overrides)
        files.write_json(output / files.ORIGIN, kept)
        files.write_json(output / "results.json", dict(reference.scores))
        files.write_json(output / files.RANGES, ranges)
        save_weights(net, output)
        write_text(output / "README.md", card)
        if graph is not None:
            write_bytes(output / graph.file, graph.content)
        made = replace(status.start(), state="finished", pid=0, host="", launch="")
        seal.finish(output, made, owner="")
    except BaseException:
        shutil.rmtree(output)
        raise


def _portable(reference: Entry, *, trains: bool) -> tuple[dict[str, Any], list[str]]:
    """The configuration and the overrides without files of weights, which the folder holds."""
    apart = {"runs_dir", "init_from", "map", "extend"}

    def foreign(key: str, value: Any) -> bool:
        return key in apart or (trains and names_weights(key, value))

    def without(value: Any, key: str = "") -> Any:
        if not isinstance(value, Mapping):
            return None if foreign(key, value) and isinstance(value, str) else value
        return {k: without(v, f"{key}.{k}".lstrip(".")) for k, v in value.items()}

    texts = ((text, *text.lstrip("+").partition("=")[::2]) for text in reference.overrides)
    config = {**without(reference.config), "runs_dir": reference.config.get("runs_dir", "runs")}
    return config, [text for text, key, value in texts if not foreign(key, value)]
