"""Finished weights as a folder for other programs: `weights.safetensors`, a graph, a model card."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from unfold.config.check import Components
from unfold.disk import write_bytes, write_text
from unfold.errors import ConfigError
from unfold.results.graph import Graph
from unfold.results.templates import rendered
from unfold.runs import files, seal, status
from unfold.runs.catalogue import PRETRAINED, Entry, flat
from unfold.runs.identity import names_weights

KEPT = ("version", "choices", "pixels", "data", "seed", "weights")
"""What `unfold.load` and a reader need of the provenance; the rest is of the author's machine."""


def export(
    reference: Entry, components: Components, form: str, output: Path, graph: Graph | None
) -> None:
    """Write the folder, sealed as a run is, so that `unfold.load` and `reconstruct` take it.

    Unlike a run it may be renamed.

    Raises:
        ConfigError: it could not be loaded elsewhere.
    """
    from unfold.training.checkpoints.weights import save_weights

    _expect_portable(reference, form, trains=components.reconstructor.model.trains)
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


def _expect_portable(reference: Entry, form: str, *, trains: bool) -> None:
    weights = {k: v for k, v in flat(reference.config).items() if _is_file_of_weights(k, v)}
    graph = form in ("onnx", "torch_export")
    lacking = [f"--config-dir={folder}" for folder in reference.folders]
    lacking += [f"{k} = {v}" for k, v in weights.items() if not (trains or graph)]
    if lacking:
        raise ConfigError(
            f"run = {reference.path}: {lacking[0]}: an exported folder does not hold it, so that "
            "it could not be loaded elsewhere. Repeat the run with the values of its options as "
            "overrides; of a classical algorithm, a graph holds the weights, format=onnx."
        )


def _is_file_of_weights(key: str, value: Any) -> bool:
    return names_weights(key, value) and not (PRETRAINED / value).is_dir()


def _portable(reference: Entry, *, trains: bool) -> tuple[dict[str, Any], list[str]]:
    """The configuration and the overrides without folders, and without files of weights.

    Of a file of images or weights that a reader needs, its name stays.
    """
    apart = {"runs_dir", "init_from", "map", "extend"}

    def kept(key: str, value: str) -> str | None:
        if key in apart or (trains and names_weights(key, value)):
            return None
        path = PurePath(value.strip("'\""))
        place = key.startswith("data.") and path != PurePath(path.name)
        return path.name if place or _is_file_of_weights(key, value) else value

    def without(value: Any, key: str = "") -> Any:
        if not isinstance(value, Mapping):
            return kept(key, value) if isinstance(value, str) else value
        return {k: without(v, f"{key}.{k}".lstrip(".")) for k, v in value.items()}

    texts = []
    for text in reference.overrides:
        key, _, value = text.partition("=")
        if (own := kept(key.lstrip("+"), value)) is not None:
            texts.append(text if own == value else f"{key}='{own}'")
    return {**without(reference.config), "runs_dir": "runs"}, texts
