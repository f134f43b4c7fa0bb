"""`unfold export RUN`: finished weights as a folder for other programs."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from unfold.cli.console import say, short
from unfold.cli.evaluate import open_run
from unfold.config.arguments import Arguments, Syntax
from unfold.config.overrides import address_of
from unfold.disk import expand
from unfold.errors import ConfigError, listing, nearest

if TYPE_CHECKING:
    from unfold.data.dataset import Data
    from unfold.typing import Shape

GRAPHS = ("onnx", "torch_export")
FORMATS = ("safetensors", *GRAPHS, "deepinv")

SYNTAX = Syntax(
    "export",
    "Weights, configuration and a model card as a folder that unfold.load and other programs take.",
    keys={
        "run": "the run, as its first argument",
        "format": "safetensors, onnx, torch_export or deepinv; the first by default",
        "output": "the folder to write; NAME_FORMAT by default",
        "size": "of the images of a graph, 128 or 128x192; that of the first test image by default",
        "iterations": "of an equilibrium or a classical algorithm, fixed in a graph",
    },
)

OF_THE_START = ("trust", "runs_dir", "accept_code")
"""Overrides that change nothing of a finished run."""


def export_run(arguments: Sequence[str]) -> int:
    """Write a run as a folder for others."""
    named = [f"run={text}" if "=" not in text and text[:1] != "-" else text for text in arguments]
    given = SYNTAX.parse(named)
    form = given.keys.get("format", FORMATS[0])
    if form not in FORMATS:
        near = nearest(form, FORMATS)
        raise ConfigError(f"format = {form}: no such format{near} Allowed: {listing(FORMATS)}.")
    kept = _without_physics(given, form)
    reference, _, components = open_run(kept, "export")
    if reference.state != "finished":
        raise ConfigError(
            f"run = {short(reference.path)}: it is {reference.state}; finish it first."
        )
    from unfold.cli.reconstruct import expect_new
    from unfold.results.exported import export
    from unfold.results.graph import make_graph
    from unfold.training.checkpoints.weights import load_weights

    own = f"{reference.path.parent.name}-{reference.path.name}_{form}"
    output = expand(given.keys.get("output", own), "output")
    expect_new(output)
    load_weights(components.reconstructor, reference.path)
    components.reconstructor.eval()
    if form == "deepinv":
        from unfold.extras import deepinv

        deepinv()
    graph = None
    if form in GRAPHS:
        traced = components
        if given.overrides != kept.overrides:
            traced = open_run(given, "export")[2]
            load_weights(traced.reconstructor, reference.path)
        size, count = given.keys.get("size"), given.keys.get("iterations")
        if count is not None and not re.fullmatch(r"[1-9]\d{0,3}", count):
            raise ConfigError(f"iterations = {count}: a whole number from 1 to 9999 is expected.")
        shape = _shape(size, components.data)
        steps = int(count) if count else None
        graph = make_graph(traced.reconstructor, traced.physics, form, shape, steps)
        say(f"{graph.file} agrees with the network to {graph.difference:.1e}")
        if graph.iterations:
            say(
                f"note: a graph has a fixed length: {graph.iterations} iterations, "
                f"{graph.rest:.1e} from the network that iterates to its tolerance."
            )
    export(reference, components, form, output, graph)
    say(f"wrote {short(output)}")
    return 0


def _without_physics(given: Arguments, form: str) -> Arguments:
    """The arguments without the operators of a graph, the only thing of a run that may be another.

    Raises:
        ConfigError: an argument has no use for this format.
    """
    named = {text: re.split(r"[./@=]", address_of(text))[0] for text in given.overrides}
    graph, keys = form in GRAPHS, ("size", "iterations")
    may = {*OF_THE_START, *(["physics"] if graph else [])}
    odd = [f"{key} = {given.keys[key]}" for key in keys if key in given.keys and not graph]
    if odd := [*odd, *(text for text, group in named.items() if group not in may)]:
        raise ConfigError(
            f"{odd[0]}: a finished run is exported as it is; only a graph, format=onnx or "
            "format=torch_export, takes size, iterations and physics. Leave it out."
        )
    kept = tuple(text for text, group in named.items() if group != "physics")
    return replace(given, overrides=kept)


def _shape(size: str | None, data: "Data") -> "Shape":
    """(C, H, W): of the size that was asked for, or of the first test image."""
    if size is None:
        found = data.shapes().get("test") or data.shapes().get("validation")
        if not found:
            raise ConfigError("the run has no test image. Give the size of one, size=128x128.")
        return tuple(found[0][1][-3:])
    if not re.fullmatch(r"[1-9]\d{0,4}(x[1-9]\d{0,4})?", size):
        raise ConfigError(f"size = {size}: HEIGHTxWIDTH, or one number for both, is expected.")
    height, _, width = size.partition("x")
    return data.channels, int(height), int(width or height)
