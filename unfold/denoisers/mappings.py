"""Weights of other packages as ours: named mappings of their tensors, which hold data only."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from unfold.errors import CheckpointError, at_most, listing, nearest


class Rule(NamedTuple):
    """How tensors become ours.

    pattern: of their whole name; a group `n` is the number of their layer.
    name: ours, with the groups of the pattern; `{j}` counts the layers of this name in order.
    step: from one j to the next.
    scale: a factor.
    axes: a permutation; None where the order is ours.
    reshape: whether it holds the same numbers in another shape.
    over: the name of the tensor of theirs that divides it, with the groups of the pattern.
    basis: how the images of their cosine basis differ from ours, where it holds coefficients of
        filters: `transposed`, or `turned` by 180 degrees.
    """

    pattern: str
    name: str
    step: int = 1
    scale: float = 1.0
    axes: tuple[int, ...] | None = None
    reshape: bool = False
    over: str = ""
    basis: str = ""

    def converted(self, t: Tensor, like: Tensor, state: Mapping[str, Tensor], key: str) -> Tensor:
        """The tensor `key` of theirs in the form of ours, which is `like`."""
        t = t if self.axes is None else t.permute(self.axes)
        if self.reshape and t.numel() == like.numel():
            t = t.reshape(like.shape)
        if self.over and (match := re.fullmatch(self.pattern, key)):
            t = t / state[match.expand(self.over)]
        if self.basis and t.shape == like.shape:
            n = math.isqrt(t.shape[1] + 1)
            images = pad(t, (1, 0)).reshape(-1, n, n)  # without the constant
            sign = 1 - 2 * (torch.arange(n) % 2).to(t)
            images = images.mT if self.basis == "transposed" else images * sign * sign[:, None]
            t = images.flatten(1)[:, 1:]
        return t * self.scale if self.scale != 1 else t


@dataclass(frozen=True)
class WeightMapping:
    """How the weights of one published network become ours.

    Args:
        network: our class that takes them; `Reconstructor` of a whole network, its step sizes too.
        rules: the first that matches a name counts.
        ignored: patterns of names that have no counterpart: counters, caches.
        epsilon: of their batch normalisations, which are merged into the convolution before.
        released: whether it was run on a file that its authors released.
    """

    network: str
    rules: tuple[Rule, ...]
    ignored: tuple[str, ...] = ()
    epsilon: float = 1e-5
    released: bool = False


def _layers(pattern: str, ours: str) -> Rule:
    """Convolutions in a sequence with activations between them."""
    theirs = pattern + r"\.(?P<n>\d{1,4})\.(?P<kind>weight|bias)"
    return Rule(theirs, ours + r".{j}.\g<kind>", step=2)


_FILTERS = Rule(
    r"conv_layer\.conv_layers\.(?P<n>\d{1,4})\.(?:parametrizations\.weight\.original|weight)",
    "filters.{j}",
)
_PHASES = (
    Rule(r"fcs\.(?P<k>\d{1,3})\.lambda_step", r"algo.stepsize.\g<k>", reshape=True),
    Rule(r"fcs\.(?P<k>\d{1,3})\.soft_thr", r"prior.denoiser.\g<k>.soft_thr"),
    Rule(r"fcs\.(?P<k>\d{1,3})\.(?P<c>conv\w+)", r"prior.denoiser.\g<k>.\g<c>.weight"),
)
_SAME = (Rule(r"(?P<name>m_(?:head|down\d|body|up\d|tail)\..*)", r"\g<name>"),)

_CASCADES = (
    Rule(r"cascades\.(?P<k>\d{1,3})\.dc_weight", r"algo.stepsize.\g<k>", reshape=True),
    Rule(r"cascades\.(?P<k>\d{1,3})\.model\.unet\.(?P<name>.*)", r"algo.refine.\g<k>.\g<name>"),
    Rule(r"sens_net\.norm_unet\.unet\.(?P<name>.*)", r"algo.calibration.\g<name>"),
)
_SCALES = Rule(r"(?P<name>(?:down_sample_layers|conv|up_conv|up_transpose_conv)\..*)", r"\g<name>")

_STAGE = r"stages\.(?P<k>\d{1,3})\."
_COEFFICIENTS, _WEIGHTS = (r"prior.denoiser.\g<k>." + n for n in ("coefficients", "weights"))
_DATA = Rule(_STAGE + "lambda", r"algo.stepsize.\g<k>", reshape=True)
_CSF = (  # by columns, of intensities up to 255; theirs convolves where ours correlates
    Rule(_STAGE + "filters", _COEFFICIENTS, axes=(1, 0), basis="turned"),
    Rule(_STAGE + "weights", _WEIGHTS, scale=1 / 255, axes=(1, 0)),
    _DATA,
)
_TNRD = (  # likewise; theirs weighs the data where ours weighs the prior, and both by a step
    Rule(_STAGE + "filters", _COEFFICIENTS, axes=(1, 0), basis="transposed"),
    Rule(_STAGE + "weights", _WEIGHTS, 1, 1 / 255, (1, 0), over=r"stages.\g<k>.lambda"),
    _DATA,
)

MAPPINGS: Mapping[str, WeightMapping] = {
    "csf": WeightMapping("Reconstructor", _CSF),
    "tnrd": WeightMapping("Reconstructor", _TNRD),
    "kair_dncnn": WeightMapping("DnCNN", (_layers("model", "noise"),), epsilon=1e-4),
    "dncnn_batch_norm": WeightMapping("DnCNN", (_layers("noise", "noise"),)),
    "deepinv_dncnn": WeightMapping(
        "DnCNN",
        (  # theirs adds to the image what ours subtracts
            Rule(r"in_conv\.(?P<kind>weight|bias)", r"noise.{j}.\g<kind>", 2),
            Rule(r"conv_list\.(?P<n>\d{1,4})\.(?P<kind>weight|bias)", r"noise.{j}.\g<kind>", 2),
            Rule(r"out_conv\.(?P<kind>weight|bias)", r"noise.{j}.\g<kind>", 2, -1.0),
        ),
    ),
    "kair_drunet": WeightMapping("DRUNet", _SAME),
    "deepinv_drunet": WeightMapping("DRUNet", _SAME),
    "fastmri_unet": WeightMapping("FastMRIUNet", (_SCALES,)),
    "fastmri_varnet": WeightMapping("Reconstructor", _CASCADES),
    "ista_net": WeightMapping("Reconstructor", _PHASES),
    "ista_net_plus": WeightMapping("Reconstructor", _PHASES),
    "kair_ffdnet": WeightMapping("FFDNet", (_layers("model", "model"),), epsilon=1e-4),
    "crr": WeightMapping(
        "ConvexRidge",
        (
            _FILTERS,
            Rule(r"activation\.coefficients_vect", "coefficients", reshape=True),
            Rule("lmbd", "strength"),
            Rule("mu", "scale"),
        ),
        ignored=("L",),
    ),
    "wcrr": WeightMapping(
        "WeaklyConvexRidge",
        (
            _FILTERS,
            Rule(r"activation_cvx\.coefficients", "convex_part", scale=500.0),
            Rule(r"activation_ccv\.coefficients", "concave_part", scale=500.0),
            Rule("mu_", "log_mu"),
            Rule(r"spline_scaling\.coefficients", "scaling"),
        ),
    ),
}


def convert(
    name: str, state: Mapping[str, Tensor], own: Mapping[str, Tensor], network: str, channels: int
) -> tuple[dict[str, Tensor], str]:
    """The tensors of a published network under our names, and what became of theirs.

    Args:
        name: of the mapping.
        state: theirs.
        own: of our network, whose names and shapes count.
        network: the class of ours.
        channels: of its images.

    Raises:
        CheckpointError: there is no such mapping, it is of another network, or a tensor is left
            over, missing, or of another shape; lists all of them.
    """
    mapping = MAPPINGS.get(name)
    if mapping is None:
        raise CheckpointError(
            f"map = {name}: no such mapping{nearest(name, MAPPINGS)} There are {listing(MAPPINGS)}."
        )
    if mapping.network != network:
        fitting = [n for n, one in MAPPINGS.items() if one.network == network]
        raise CheckpointError(
            f"map = {name}: makes weights of {mapping.network}, and the network is {network}. "
            f"Of that: {listing(fitting)}."
        )
    merged, count = _merged(state, mapping.epsilon)
    ignored = [key for key in merged if any(re.fullmatch(p, key) for p in mapping.ignored)]
    found: dict[str, Tensor] = {}
    over, changed = [], 0
    kept = [key for key in merged if key not in ignored]
    placed = _placed(mapping, kept)
    for key in kept:
        rule, ours = placed.get(key, (None, ""))
        if rule is None or ours not in own or ours in found:
            over.append(key)
            continue
        found[ours] = rule.converted(merged[key], own[ours], merged, key)
        changed += rule[2:] != Rule("", "", rule.step)[2:]
    _refuse(name, found, own, over, channels)
    report = f"{len(found)} tensors matched, {changed} of them converted"
    report += f", {count} batch normalisations merged" if count else ""
    report += f"; not used: {listing(ignored)}" if ignored else ""
    never = "" if mapping.released else ". This mapping was never run on a released file"
    return found, f"{report}; left over: none{never}"


def fitting(state: Mapping[str, Tensor], network: str) -> list[str]:
    """The mappings onto our network that know every name."""

    def knows(mapping: WeightMapping) -> bool:
        patterns = [*mapping.ignored, *(rule.pattern for rule in mapping.rules)]
        keys = _merged(state, mapping.epsilon)[0]
        return all(any(re.fullmatch(p, key) for p in patterns) for key in keys)

    return [n for n, one in MAPPINGS.items() if one.network == network and knows(one)]


def _placed(mapping: WeightMapping, keys: Sequence[str]) -> dict[str, tuple[Rule, str]]:
    """The rule of each name that has one, and our name with the count of its layer."""
    matches: dict[str, tuple[int, int, re.Match[str]]] = {}
    for key in keys:
        for position, rule in enumerate(mapping.rules):
            if key not in matches and (match := re.fullmatch(rule.pattern, key)):
                matches[key] = (position, int(match.groupdict().get("n") or 0), match)
    found = {}
    for key, (p, n, match) in matches.items():
        rule = mapping.rules[p]
        alike = {(q, m) for q, m, _ in matches.values() if mapping.rules[q].name == rule.name}
        number = str(rule.step * sorted(alike).index((p, n)))
        found[key] = (rule, match.expand(rule.name).replace("{j}", number))
    return found


def _merged(state: Mapping[str, Tensor], epsilon: float) -> tuple[dict[str, Tensor], int]:
    """The state with every batch normalisation merged into the layer before it; how many.

    γ(Wx + b − m)/√(v + ε) + β is a convolution with sW and s(b − m) + β, s = γ/√(v + ε).
    """
    found, count = dict(state), 0
    for key in state:
        match = re.fullmatch(r"((?:.*\.)?)(\d{1,4})\.running_mean", key)
        before = f"{match[1]}{int(match[2]) - 1}" if match else ""
        norm = f"{match[1]}{match[2]}" if match else ""
        if not norm or not {f"{before}.weight", f"{norm}.running_var"} <= found.keys():
            continue
        mean, var = found.pop(f"{norm}.running_mean"), found.pop(f"{norm}.running_var")
        gamma, beta = found.pop(f"{norm}.weight", None), found.pop(f"{norm}.bias", None)
        found.pop(f"{norm}.num_batches_tracked", None)
        s = (1 if gamma is None else gamma) / (var + epsilon).sqrt()
        W, b = found[f"{before}.weight"], found.get(f"{before}.bias", 0)
        found[f"{before}.weight"] = W * s.reshape(-1, *[1] * (W.ndim - 1))
        found[f"{before}.bias"] = (b - mean) * s + (0 if beta is None else beta)
        count += 1
    return found, count


def _refuse(
    name: str,
    found: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    over: Sequence[str],
    channels: int,
) -> None:
    """Refuse what does not fit, as a list; nothing is loaded."""
    wrong = [k for k, t in found.items() if t.shape != own[k].shape or t.is_complex()]
    missing = sorted(own.keys() - found.keys())
    if not (wrong or missing or over):
        return
    shapes = [f"{k} is {tuple(found[k].shape)}, {tuple(own[k].shape)} expected" for k in wrong]
    lines = [f"left over: {listing(over, 6)}", f"missing: {listing(missing, 6)}"]
    lines += [f"of another shape: {line}" for line in at_most(shapes, 6)]
    if wrong and not (missing or over):
        lines += channel_remedy(found[max(wrong)], own[max(wrong)], channels)
    raise CheckpointError(f"map = {name}: the weights do not fit, and none is loaded.", *lines)


def channel_remedy(theirs: Tensor, own: Tensor, channels: int) -> list[str]:
    """What to do where the last weights of a network are for images of other channels."""
    other = {a * channels // b for a, b in zip(theirs.shape, own.shape, strict=False) if a != b}
    return [
        f"If they are for images of {n} channels, and the network is for {channels}, set "
        f"data.channels={n}, or choose weights for {channels}."
        for n in (other if len(other) == 1 else ())
    ]
