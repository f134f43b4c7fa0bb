"""Where the networks of a prior start: `prior.weights`."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from unfold.config.check import Checked
from unfold.errors import ConfigError
from unfold.runs.reference import read_reference

if TYPE_CHECKING:
    from torch import nn

    from unfold.reconstructor import Reconstructor

EMBEDDED = "embedded"
"""The weights that come with unfold: a blind denoiser trained by `experiment=denoiser`."""


class Origin(NamedTuple):
    """Where networks start.

    source: the file or the run; None for random weights.
    sentence: what to say of it.
    """

    source: Path | None
    sentence: str


def start_networks(checked: Checked, reconstructor: "Reconstructor") -> None:
    """Put trained weights into the networks of the prior, in the form that the model gave them.

    Raises:
        ConfigError: nothing would be learned, and there are no trained weights.
        CheckpointError: the weights cannot be read, or belong to another network.
    """
    from unfold.training.checkpoint import load_prior_weights

    origin = origin_of(checked, reconstructor)
    if origin is None or origin.source is None:
        return
    for network in _networks(reconstructor):
        load_prior_weights(network, origin.source)


def origin_of(checked: Checked, reconstructor: "Reconstructor") -> Origin | None:
    """Where the networks of the prior start; None where it has none.

    Raises:
        ConfigError: nothing would be learned, and there are no trained weights.
    """
    from unfold.training.checkpoint import embedded_fits, embedded_weights

    networks = _networks(reconstructor)
    if not networks:
        return None
    weights = checked.groups["prior"].arguments.get("weights")
    if weights == EMBEDDED and embedded_fits(networks[0]):
        sentence = "prior.denoiser starts from the one that comes with unfold"
        return Origin(embedded_weights(), sentence)
    if weights in (None, EMBEDDED):
        _refuse_untrained(reconstructor, weights)
        reason = "" if weights is None else ": the embedded weights are of another architecture"
        return Origin(None, f"prior.denoiser starts at random{reason}")
    source = _located(str(weights), checked.settings.runs_dir)
    return Origin(source, f"prior.denoiser starts from {weights}")


def _networks(reconstructor: "Reconstructor") -> "list[nn.Module]":
    from torch import nn

    found = dict(reconstructor.named_modules()).get("prior.denoiser")
    if found is None:
        return []
    return list(found) if isinstance(found, nn.ModuleList) else [found]


def _refuse_untrained(reconstructor: "Reconstructor", weights: str | None) -> None:
    if reconstructor.model.trains:
        return
    raise ConfigError(
        f"prior.weights = {weights or 'null'}: model=classical learns nothing, and this network is "
        "untrained, so its result would mean nothing. Name a run or a file of trained weights, or "
        "choose prior=tv."
    )


def _located(weights: str, runs_dir: str) -> Path:
    path = Path(weights).expanduser()
    return path if path.exists() else read_reference(weights, runs_dir).path
