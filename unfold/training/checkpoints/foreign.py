"""Weights of other packages, from .pth, .pt and .safetensors files."""

import io
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unfold.arrays import loadable
from unfold.denoisers.mappings import convert, fitting
from unfold.disk import read_bytes
from unfold.errors import CheckpointError, listing
from unfold.parameters.group import groups_of, value_range
from unfold.training.checkpoints.weights import load_matching, load_prior_weights, read_weights

PICKLED = (".pth", ".pt", ".ckpt", ".tar", ".bin")
INSIDE = ("state_dict", "params_ema", "params", "model", "model_state_dict", "net")
"""Where a file of a training keeps the weights, beside the state of its optimizer."""


def load_network(network: nn.Module, path: Path, mapping: str | None = None) -> str:
    """Load trained weights, published ones through a named mapping; reports what became of them.

    Raises:
        CheckpointError: the file cannot be read, or something of it does not fit; nothing is
            loaded then.
    """
    kind = type(network).__name__
    if mapping is not None:
        own, channels = network.state_dict(), int(getattr(network, "channels", 1))
        try:
            state, report = convert(mapping, read_foreign(path), own, kind, channels)
        except RuntimeError as error:  # of tensors whose shapes do not go together
            raise CheckpointError(f"{path}: map = {mapping} does not apply ({error}).") from error
        network.load_state_dict({key: t.to(own[key].dtype) for key, t in state.items()})
        return f" through map={mapping}: {report}"
    pickled = path.suffix in PICKLED and path.is_file()
    try:
        if pickled:
            load_matching(network, read_foreign(path), str(path))
        else:
            load_prior_weights(network, path)
    except CheckpointError as error:
        if path.is_file() and (names := fitting(read_foreign(path), kind)):
            remedy = f"Its names are published ones of {kind}: add map={' or map='.join(names)}."
            raise CheckpointError(*error.lines, remedy) from error
        raise
    return ""


def load_whole(net: nn.Module, path: Path, mapping: str) -> str:
    """Load a whole published network, with the scalars that each iteration has; reports it.

    Raises:
        CheckpointError: as `load_network`; or a value is outside of the set of its scalar.
    """
    groups = {
        f"{p}.{n}": (g, n) for p, g in groups_of(net) for n, plan in g.plans.items() if plan.own
    }
    each = {name: group.value(n).detach() for name, (group, n) in groups.items()}
    inside = re.compile(r"(prior\.denoiser|algo\.\w+)\.")  # of a network
    networks = {n: t for n, t in net.state_dict().items() if inside.match(n)}
    own = networks | {
        f"{name}.{k}": v for name, values in each.items() for k, v in enumerate(values)
    }
    state, report = convert(mapping, read_foreign(path), own, "Reconstructor", 1)
    for name, (group, n) in groups.items():
        plan = group.plans[n]
        values = torch.stack([state.pop(f"{name}.{k}") for k in range(len(each[name]))])
        if not plan.constraint.holds(values):
            raise CheckpointError(
                f"{path}: {name} = {value_range(values)}, and its set is {plan.constraint}. Widen "
                f"it: Trainable.widen={{{name}: [-.inf, .inf]}}."
            )
        raw = plan.constraint.to_raw(values) if plan.learned else values
        target = group.get_parameter(f"raw_{n}") if plan.learned else group.get_buffer(n)
        target.data.copy_(raw)
    net.load_state_dict({key: t.to(own[key].dtype) for key, t in state.items()}, strict=False)
    return f" through map={mapping}: {report}"


def read_foreign(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by their names in it.

    Raises:
        CheckpointError: it is no such file, or holds objects, which could execute code.
    """
    if path.is_dir() or path.suffix not in PICKLED:
        return {k.removeprefix("prior.denoiser."): t for k, t in read_weights(path).items()}
    try:
        content = io.BytesIO(read_bytes(path.resolve(), loadable()))
        loaded = torch.load(content, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: not readable as tensors alone, and nothing else is read from a pickle, which "
            f"could execute code ({reason}). Save its state_dict with torch.save or safetensors."
        ) from error
    return _tensors(loaded, path)


def _tensors(loaded: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of what was loaded; those of a parallel training without its prefix."""
    for key in INSIDE:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(t, Tensor) for t in loaded.values()):
        named = isinstance(loaded, Mapping)
        held = listing(map(str, loaded), 6) if named else type(loaded).__name__
        raise CheckpointError(
            f"{path}: a dictionary of tensors is expected, it holds {held}. Save its state_dict."
        )
    parallel = all(str(key).startswith("module.") for key in loaded)
    return {str(k).removeprefix("module." if parallel else ""): t for k, t in loaded.items()}
