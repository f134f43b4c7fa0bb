"""Where the networks of a prior start: `prior.weights`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from unfold.config.check import Checked
from unfold.config.plan import Component, walk
from unfold.errors import CheckpointError, ConfigError, UnfoldError, listing
from unfold.runs.catalogue import read_entry
from unfold.runs.identity import EMBEDDED, find_weights

if TYPE_CHECKING:
    from unfold.config.schema import Settings
    from unfold.priors.prior import Prior
    from unfold.reconstructor import Reconstructor


def start_networks(checked: Checked, prior: "Prior", why_not: str) -> tuple[str, ...]:
    """Load trained weights into the denoisers of the prior, those in the terms of a sum included.

    `why_not` is why nothing is learned, so that trained weights are needed; "" where something is.

    Returns:
        A sentence for each on where it starts.
    """
    owners = [one for one in walk(checked.groups["prior"]) if "denoiser" in one.arguments]
    settings = checked.settings
    files = [one for one in owners if one.arguments.get("weights") not in (None, EMBEDDED)]
    if settings.map is not None and settings.init_from is None and not files:
        raise ConfigError(
            f"map = {settings.map}: there is no file to map. Name it, prior.weights=FILE."
        )
    return tuple(_start(owner, settings, prior, why_not) for owner in owners)


def _start(owner: Component, settings: "Settings", prior: "Prior", why_not: str) -> str:
    """Load the weights of one denoiser, of all iterations; reports where it starts."""
    from unfold.parameters.networks import stages
    from unfold.parameters.select import names
    from unfold.training.checkpoints.foreign import load_network
    from unfold.training.checkpoints.weights import embedded_weights

    path = re.sub(r"\[(\d+)\]", r".\1", owner.path)
    name = f"{path}.denoiser"
    networks = stages(names(prior, "prior")[name])
    weights = owner.arguments.get("weights")
    source = embedded_weights(networks[0]) if weights == EMBEDDED else None
    sentence = f"{name} starts from the one that comes with unfold"
    if source is None:
        if weights is None and all(getattr(network, "trained", False) for network in networks):
            return f"{name} starts from the weights that it is made with"
        if weights in (None, EMBEDDED):
            if why_not and settings.init_from is None:
                raise ConfigError(
                    f"{path}.weights = {weights or 'null'}: {why_not} learns nothing, and this "
                    "network is untrained, so its result would mean nothing. Name a run or a "
                    "file of trained weights, or choose prior=tv."
                )
            reason = "" if weights is None else ": the embedded weights are of another architecture"
            return f"{name} starts at random{reason}"
        source = located(f"{path}.weights", str(weights), settings.runs_dir)
        sentence = f"{name} starts from {weights}"
        _expect_as_trained(f"{path}.denoiser", owner, source)
    mapping = None if weights == EMBEDDED else settings.map
    reports = [load_network(network, source, mapping) for network in networks]
    return sentence + reports[0]


def _expect_as_trained(key: str, owner: Component, source: Path) -> None:
    """Refuse a network of the class of the run's that computes something else from its weights."""
    kept = source if source.is_dir() else source.parent
    if not (kept / "config.yaml").is_file() or not isinstance(
        owner.arguments["denoiser"], Component
    ):
        return
    made = owner.arguments["denoiser"]
    theirs = read_entry(kept, str(kept)).get
    if theirs("prior.denoiser._target_") != f"{made.target.__module__}.{made.target.__qualname__}":
        return
    recorded = {option: theirs(f"prior.denoiser.{option}") for option in made.arguments}
    other = [
        f"{key}.{option}={kind.lower() if isinstance(value, bool) else kind}"
        for option, value in made.arguments.items()
        if isinstance(value, bool | int | str)
        and (kind := recorded[option]) not in (None, str(value))
    ]
    if other and f"{key}.channels" not in " ".join(other):
        raise CheckpointError(
            f"{owner.path}.weights = {kept.name}: its network was made with other options, and "
            f"its weights do not fit or would compute something else. Add {' '.join(other)}."
        )


def start_from(reconstructor: "Reconstructor", settings: "Settings") -> str:
    """Load the weights that `init_from` names, of a run or through a mapping; reports it."""
    from unfold.denoisers.mappings import MAPPINGS
    from unfold.parameters.networks import stages
    from unfold.training.checkpoints.foreign import PICKLED, load_network, load_whole
    from unfold.training.checkpoints.weights import load_weights

    text = str(settings.init_from)
    source = located("init_from", text, settings.runs_dir)
    if settings.map is None and source.suffix in PICKLED:
        raise CheckpointError(
            f"init_from = {text}: a run is expected. Weights of another package need map=NAME: "
            f"{listing(MAPPINGS)}."
        )
    if settings.map is None:
        load_weights(reconstructor, source)
        return f"every weight starts from {text}"
    if settings.map in MAPPINGS and MAPPINGS[settings.map].network == "Reconstructor":
        return (
            f"every iteration starts from {text}{load_whole(reconstructor, source, settings.map)}"
        )
    network = getattr(reconstructor.prior, "denoiser", None)
    if network is None:
        raise ConfigError(f"map = {settings.map}: the prior has no network. Choose prior=drunet.")
    reports = [load_network(one, source, settings.map) for one in stages(network)]
    return f"prior.denoiser starts from {text}{reports[0]}"


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
