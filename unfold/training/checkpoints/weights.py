"""Weights on disk: Lightning checkpoints, and the safetensors file that is shared.

A checkpoint is data: it is loaded with `weights_only`, and never executes code.
"""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from unfold.denoisers.dncnn import DnCNN
from unfold.denoisers.nonexpansive import NonexpansiveResNet
from unfold.disk import write_bytes
from unfold.errors import CheckpointError, listing
from unfold.training.checkpoints.checksum import (
    BLANK,
    damage,
    damage_of_weights,
    weights_with_checksum,
    with_checksum,
)

WEIGHTS = "weights.safetensors"
PREFIX = "reconstructor."

PAIRS = ":complex128"
"""Ends the name of a tensor of real and imaginary parts: the format has no type for it."""

EMBEDDED: Mapping[type[nn.Module], str] = {
    DnCNN: "denoiser.safetensors",
    NonexpansiveResNet: "nonexpansive_denoiser.safetensors",
}
"""The packaged denoisers, trained by `experiment=denoiser` and `=nonexpansive`."""


def write_checkpoint(state: Mapping[str, Any], path: Path, keep: Path | None = None) -> None:
    """Write tensors and plain values with a checksum atomically; an existing file moves to `keep`.

    Raises:
        RunError: the disk is full, or the folder cannot be written; the existing file is kept.
    """
    archive = io.BytesIO()
    torch.save(dict(state), archive)
    advice = "The previous checkpoint is kept; free space, and the same command resumes from it."
    write_bytes(path, with_checksum(archive.getvalue()), keep=keep, advice=advice)


def save_weights(reconstructor: nn.Module, directory: Path) -> Path:
    """Write the weights of a reconstructor into a run directory, atomically."""
    path = directory / WEIGHTS
    state = {name: t.detach().cpu().contiguous() for name, t in reconstructor.state_dict().items()}
    for name in [name for name, t in state.items() if t.dtype == torch.complex128]:
        state[name + PAIRS] = torch.view_as_real(state.pop(name).resolve_conj()).contiguous()
    write_bytes(path, weights_with_checksum(save(state, BLANK)))
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a run directory that holds one.

    Raises:
        CheckpointError: there is none, it cannot be read, or it is damaged.
    """
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(
            f"{file}: no such weights file. A run writes it when its training ends; name a "
            "finished run, or a .safetensors file."
        )
    try:
        content = file.read_bytes()
        state = load(content)
        for name in [name for name in state if name.endswith(PAIRS)]:
            state[name.removesuffix(PAIRS)] = torch.view_as_complex(state.pop(name))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{file}: not a readable safetensors file ({error}).") from error
    if damage_of_weights(content) is not None:
        raise CheckpointError(
            f"{file}: damaged since it was written ({damage_of_weights(content)}). Take a copy, or "
            "repeat the run with rerun=true."
        )
    return state


def load_weights(reconstructor: nn.Module, path: Path) -> None:
    """Load the weights of a run into a reconstructor of the same configuration.

    Raises:
        CheckpointError: they are missing, or belong to another architecture.
    """
    if not any(True for _ in reconstructor.parameters()) and not (path / WEIGHTS).is_file():
        return  # nothing was learned, so there is no file
    load_matching(reconstructor, read_weights(path), str(path))


def load_matching(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state whose names and shapes are exactly those of the module.

    Raises:
        CheckpointError: names missing and unknown tensors, and those of another shape.
    """
    own = module.state_dict()
    missing, extra = own.keys() - state.keys(), state.keys() - own.keys()
    shapes = [
        f"{name} is {tuple(state[name].shape)}, {tuple(own[name].shape)} expected"
        for name in sorted(own.keys() & state.keys())
        if state[name].shape != own[name].shape
    ]
    shapes += [
        f"{name} is {state[name].dtype}, {own[name].dtype} expected"
        for name in sorted(own.keys() & state.keys())
        if state[name].is_complex() and not own[name].is_complex()  # the imaginary part would go
    ]
    if missing or extra or shapes:
        raise CheckpointError(
            f"{source}: these weights belong to another model. Missing: {_some(missing)}; unknown: "
            f"{_some(extra)}; of another shape or kind: {'; '.join(shapes[:3]) or 'none'}."
        )
    module.load_state_dict(dict(state))


def _some(names: Any) -> str:
    chosen = sorted(names)
    more = f" and {len(chosen) - 4} more" if len(chosen) > 4 else ""
    return listing(chosen[:4]) + more


def embedded_weights(denoiser: nn.Module) -> Path | None:
    """The packaged weights of a denoiser of this architecture, or None."""
    name = EMBEDDED.get(type(denoiser))
    if name is None:
        return None
    path = Path(__file__).with_name(name)
    own = {key: t.shape for key, t in denoiser.state_dict().items()}
    return path if own == {key: t.shape for key, t in read_weights(path).items()} else None


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


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, loaded without executing code.

    Raises:
        CheckpointError: the file cannot be read, is damaged, or holds more than tensors and plain
            values.
    """
    try:
        content = path.read_bytes()
        reason = damage(content)
        if reason is not None:
            raise CheckpointError(f"{path}: not a readable checkpoint ({reason}).")
        state: dict[str, Any] = torch.load(
            io.BytesIO(content), map_location="cpu", weights_only=True
        )
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: not a readable checkpoint ({reason}).") from error
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
