"""Weights on disk: Lightning checkpoints, and the safetensors file that is shared.

A checkpoint is data: it is loaded with `weights_only`, and never executes code.
"""

import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from unfold.arrays import loadable
from unfold.denoisers.dncnn import DnCNN
from unfold.denoisers.mappings import channel_remedy
from unfold.denoisers.nonexpansive import NonexpansiveResNet
from unfold.denoisers.ridge import WeaklyConvexRidge
from unfold.disk import damage, read_bytes, with_checksum, write_bytes
from unfold.errors import CheckpointError, NonFiniteError, listing
from unfold.parameters.group import groups_of
from unfold.reconstructor import Reconstructor
from unfold.training.checkpoints.checksum import (
    BLANK,
    KEY,
    damage_of_weights,
    weights_with_checksum,
)

WEIGHTS = "weights.safetensors"
PREFIX = "reconstructor."
OWNER = "run"

PAIRS = ":complex128"
"""Ends the name of a tensor of real and imaginary parts: the format has no type for it."""

EMBEDDED: Mapping[type[nn.Module], tuple[str, ...]] = {
    DnCNN: ("denoiser.safetensors",),
    NonexpansiveResNet: ("nonexpansive_denoiser.safetensors",),
    WeaklyConvexRidge: ("ridge.safetensors", "weakly_convex_ridge.safetensors"),
}
"""The packaged networks, of `experiment=denoiser`, `nonexpansive`, `ridge` and `wcrr_bsd68`."""


def write_checkpoint(state: Mapping[str, Any], path: Path, keep: Path | None = None) -> None:
    """Write tensors and plain values with a checksum atomically; an existing file moves to `keep`.

    The state names the run whose folder `checkpoints` it is in, and is read as a state of no other.

    Raises:
        RunError: the disk is full, or the folder cannot be written; the existing file is kept.
    """
    archive = io.BytesIO()
    torch.save({**state, OWNER: _owner(path)}, archive)
    advice = "The previous checkpoint is kept; free space, and the same command resumes from it."
    write_bytes(path, with_checksum(archive.getvalue()), keep=keep, advice=advice)


def _owner(path: Path) -> str:
    """The name of the run that a state belongs to, by its place."""
    return path.absolute().parent.parent.name


def save_weights(reconstructor: nn.Module, directory: Path) -> Path:
    """Write the weights of a reconstructor into a run directory, atomically."""
    path = directory / WEIGHTS
    state = {name: t.detach().cpu().contiguous() for name, t in reconstructor.state_dict().items()}
    for name in [name for name, t in state.items() if t.dtype == torch.complex128]:
        state[name + PAIRS] = torch.view_as_real(state.pop(name).resolve_conj()).contiguous()
    # One entry: several would be written in an order that is not always the same.
    made = {KEY: f"{BLANK} {json.dumps(described(reconstructor))}"}
    write_bytes(path, weights_with_checksum(save(state, made)))
    return path


def keep_channels_last(network: nn.Module) -> None:
    """Lay the filters of every 2-D convolution out channels last; images follow their filters.

    Only `Conv2d`: filters that a network computes itself have any number of axes, and gain nothing.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def described(reconstructor: nn.Module) -> dict[str, Any]:
    """What gives weights their meaning and is no tensor: model, start, iterations, scales."""
    if not isinstance(reconstructor, Reconstructor):
        return {}
    model = reconstructor.model
    plans = {
        f"{name}.{key}": [plan.unit, repr(plan.constraint) if plan.learned else "", *plan.features]
        for name, group in groups_of(reconstructor)
        for key, plan in group.plans.items()
    }
    return {
        "algo": type(reconstructor.algo.recipe).__name__,
        "prior": type(reconstructor.prior.recipe).__name__,
        "model": type(model).__name__,
        "model.iterations": model.count,
        "start": repr(getattr(reconstructor.start, "recipe", reconstructor.start)),
        "scales": plans,
    }


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a run directory that holds one.

    Raises:
        CheckpointError: there is none, it cannot be read, or it is damaged.
    """
    return _tensors_and_header(path)[0]


def _tensors_and_header(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(
            f"{file}: no such weights file. A run writes it when its training ends; name a "
            "finished run, or a .safetensors file."
        )
    try:
        content = read_bytes(file.resolve(), loadable())
        state = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        for name in [name for name in state if name.endswith(PAIRS)]:
            state[name.removesuffix(PAIRS)] = torch.view_as_complex(state.pop(name))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{file}: not a readable safetensors file ({error}).") from error
    if (reason := damage_of_weights(content)) is not None:
        raise CheckpointError(
            f"{file}: damaged since it was written ({reason}). Take a copy, or repeat the run with "
            "rerun=true."
        )
    return state, header


def load_weights(reconstructor: nn.Module, path: Path) -> None:
    """Load the weights of a run into a reconstructor of the same configuration.

    Raises:
        CheckpointError: they are missing, belong to another architecture, or were trained with
            another start, other iterations or other scales.
    """
    if not any(True for _ in reconstructor.parameters()) and not (path / WEIGHTS).is_file():
        return  # nothing was learned, so there is no file
    state, header = _tensors_and_header(path)
    _expect_same(reconstructor, header, path)
    load_matching(reconstructor, state, str(path))


def _expect_same(reconstructor: nn.Module, header: Mapping[str, Any], path: Path) -> None:
    """Refuse weights that were trained in a model of another kind, start, count or scale."""
    text = header.get("__metadata__", {}).get(KEY, "").partition(" ")[2]
    there, here = json.loads(text or "{}"), json.loads(json.dumps(described(reconstructor)))
    for key in there.keys() & here.keys():
        if there[key] != here[key]:
            one, other = there[key], here[key]
            if key == "scales":
                key = min(n for n in {*one, *other} if one.get(n) != other.get(n))
                one, other = one.get(key), other.get(key)
            raise CheckpointError(
                f"{path}: these weights were trained with {key} = {one}, and this model has "
                f"{other}. Give it what they were trained with, as unfold.load(RUN) does, or take "
                "the networks only, prior.weights=RUN."
            )


def load_matching(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state whose names and shapes are exactly those of the module.

    Raises:
        CheckpointError: names missing and unknown tensors, and those of another shape.
    """
    own = module.state_dict()
    missing, extra = own.keys() - state.keys(), state.keys() - own.keys()
    shapes = []
    for name in sorted(own.keys() & state.keys()):
        one, other = state[name], own[name]
        if one.shape != other.shape:
            shapes.append(f"{name} is {tuple(one.shape)}, {tuple(other.shape)} expected")
        if one.is_complex() and not other.is_complex():  # the imaginary part would go
            shapes.append(f"{name} is {one.dtype}, {other.dtype} expected")
    if missing or extra or shapes:
        last, channels = shapes[-1].split()[0] if shapes else "", getattr(module, "channels", 0)
        lone = channels and last and not (missing or extra)
        raise CheckpointError(
            f"{source}: these weights belong to another model. Missing: {listing(missing, 4)}; "
            f"unknown: {listing(extra, 4)}; of another shape or kind: "
            f"{'; '.join(shapes[:3]) or 'none'}.",
            *(channel_remedy(state[last], own[last], channels) if lone else ()),
        )
    module.load_state_dict(dict(state))


def embedded_weights(denoiser: nn.Module) -> Path | None:
    """The packaged weights of a denoiser of this architecture, or None."""
    own = {key: t.shape for key, t in denoiser.state_dict().items()}
    paths = (Path(__file__).with_name(name) for name in EMBEDDED.get(type(denoiser), ()))
    fitting = (p for p in paths if own == {key: t.shape for key, t in read_weights(p).items()})
    return next(fitting, None)


def load_prior_weights(denoiser: nn.Module, path: Path) -> None:
    """Load trained weights into a denoiser, from a run or from a file.

    Raises:
        CheckpointError: the file has no such network, one per iteration, or another architecture.
    """
    state = read_weights(path)
    prefix = "prior.denoiser."
    inside = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
    if any(name.partition(".")[0].isdigit() for name in inside):
        raise CheckpointError(
            f"{path}: this run has one network per iteration, so there is no single prior to load; "
            "train one with a tied network."
        )
    load_matching(denoiser, inside or state, str(path))


AGAIN = "Move it away to train without it, or add rerun=true to repeat the run."


def check_finite(reconstructor: nn.Module) -> None:
    """Refuse weights and initial values that are not finite: nothing computed with them is.

    Raises:
        NonFiniteError: names them.
    """
    state = reconstructor.state_dict().items()
    if bad := [name for name, t in state if not bool(torch.isfinite(t).all())]:
        raise NonFiniteError(
            f"{listing(bad, 4)}: not finite before the first step. Choose other values or weights."
        )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, loaded without executing code.

    Raises:
        CheckpointError: the file cannot be read, is damaged, holds more than tensors and plain
            values, or is of another run.
    """
    try:
        content = read_bytes(path.resolve(), loadable())
        reason = damage(content)
        if reason is not None:
            raise CheckpointError(f"{path}: not a readable checkpoint ({reason}). {AGAIN}")
        state: dict[str, Any] = torch.load(
            io.BytesIO(content), map_location="cpu", weights_only=True
        )
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: not a readable checkpoint ({reason}). {AGAIN}") from error
    if (owner := state.pop(OWNER, None)) != _owner(path):
        raise CheckpointError(f"{path}: is a state of the run {owner}, not of this one. {AGAIN}")
    return state


def best_state(reconstructor: nn.Module) -> dict[str, Any]:
    """The weights as a state that `load_checkpoint` reads."""
    weights = reconstructor.state_dict().items()
    return {"state_dict": {PREFIX + name: t.detach() for name, t in weights}}


def load_checkpoint(reconstructor: nn.Module, path: Path) -> None:
    """Load the weights of a checkpoint into the reconstructor."""
    state = read_checkpoint(path)["state_dict"]
    own = {n.removeprefix(PREFIX): t for n, t in state.items() if n.startswith(PREFIX)}
    load_matching(reconstructor, own, str(path))
