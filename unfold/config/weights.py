"""Where the networks of a prior start: `prior.weights`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from unfold.config.check import Checked
from unfold.config.plan import Component, walk
from unfold.errors import CheckpointError, ConfigError, UnfoldError
from unfold.runs.identity import EMBEDDED, find_weights

if TYPE_CHECKING:
    from torch import nn

    from unfold.models.model import Model
    from unfold.priors.prior import Prior


class Origin(NamedTuple):
    """Where a denoiser starts.

    networks: the denoiser, or those of all iterations.
    source: the file or the run; None for random weights.
    sentence: a report of it.
    """

    networks: "list[nn.Module]"
    source: Path | None
    sentence: str


def start_networks(checked: Checked, prior: "Prior", model: "Model") -> tuple[str, ...]:
    """Load trained weights into the denoisers of the prior, those in the terms of a sum included.

    `model` is what repeats the steps: one that does not train needs trained weights.

    Returns:
        A sentence for each on where it starts.
    """
    from unfold.training.checkpoints.weights import load_prior_weights

    owners = (one for one in walk(checked.groups["prior"]) if "denoiser" in one.arguments)
    origins = [_origin(owner, checked.settings.runs_dir, prior, model) for owner in owners]
    for networks, source, _ in origins:
        if source is not None:
            for network in networks:
                load_prior_weights(network, source)
    return tuple(origin.sentence for origin in origins)


def _origin(owner: Component, runs_dir: str, prior: "Prior", model: "Model") -> Origin:
    from unfold.parameters.networks import stages
    from unfold.parameters.select import names
    from unfold.training.checkpoints.weights import embedded_weights

    path = re.sub(r"\[(\d+)\]", r".\1", owner.path)
    name = f"{path}.denoiser"
    networks = stages(names(prior, "prior")[name])
    weights = owner.arguments.get("weights")
    embedded = embedded_weights(networks[0]) if weights == EMBEDDED else None
    if embedded is not None:
        return Origin(networks, embedded, f"{name} starts from the one that comes with unfold")
    if weights is None and all(getattr(network, "trained", False) for network in networks):
        return Origin(networks, None, f"{name} starts from the weights that it is made with")
    if weights in (None, EMBEDDED):
        _refuse_untrained(path, model, weights)
        reason = "" if weights is None else ": the embedded weights are of another architecture"
        return Origin(networks, None, f"{name} starts at random{reason}")
    source = located(f"{path}.weights", str(weights), runs_dir)
    return Origin(networks, source, f"{name} starts from {weights}")


def _refuse_untrained(path: str, model: "Model", weights: str | None) -> None:
    if model.trains:
        return
    raise ConfigError(
        f"{path}.weights = {weights or 'null'}: model=classical learns nothing, and this network "
        "is untrained, so its result would mean nothing. Name a run or a file of trained weights, "
        "or choose prior=tv."
    )


def located(key: str, text: str, runs_dir: str) -> Path:
    """The file or the run directory of weights that a key names."""
    if "://" in text:
        raise CheckpointError(
            f"{key} = {text}: an address. Nothing is fetched: download the file, compare its "
            "sha256 with the one its author gives, and name the file."
        )
    try:
        return find_weights(text, runs_dir)
    except UnfoldError as error:
        raise CheckpointError(f"{key} = {text}: no weights there. {error}") from error
