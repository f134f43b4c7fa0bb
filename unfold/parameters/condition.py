"""Parameters that depend on the problem: values from its noise level, its sampling, its norm."""

import warnings
from collections import deque
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from unfold.errors import ConfigError, DataWarning, listing
from unfold.parameters.declare import NOISE_LEVEL

CENTRES = {NOISE_LEVEL: -1.5}
"""Of the logarithms, where they are far from 0: σ is about 0.03."""

WIDTH = 16
"""Features of the hidden layer."""

MARGIN = 0.02
"""How far beyond the range of its training a logarithm may lie without a warning."""


class Condition(nn.Module):
    """What is added to the unconstrained value of a parameter: W tanh(V f + b) + c, of each image.

    f are the decimal logarithms of positive features of the problem, such as the noise level. W and
    c start at 0, so that the parameter starts as it is without a condition.

    Args:
        name: of the parameter, for messages.
        features: names of the features.
        shape: of its values, (), (K,), (n,) or (K, n).
    """

    range: Tensor  # (2, F): the least and the largest f of the training
    known: Tensor  # (): 1 once there was a training

    def __init__(self, name: str, features: Sequence[str], shape: Sequence[int]) -> None:
        super().__init__()
        self.name, self.features, self.shape = name, tuple(features), tuple(shape)
        self.hidden = nn.Linear(len(self.features), WIDTH)
        self.last = nn.Linear(WIDTH, torch.Size(self.shape).numel())
        for weight in self.last.parameters():
            nn.init.zeros_(weight)
        self.register_buffer("range", torch.zeros(2, len(self.features)))
        self.register_buffer("known", torch.zeros(()))
        # Threads that compute parts of a batch add to it; `remember` folds it into the buffers.
        self._seen: deque[Tensor] = deque(maxlen=256)

    def forward(self, problem: Mapping[str, Tensor]) -> Tensor:
        """(B, *shape), for the features of a problem by name, each (B, …) or of one number.

        Raises:
            ConfigError: the noise level is not known, or a feature is not positive.
        """
        f = self._logarithms(problem)
        if self.training:
            self._seen.append(torch.stack(f.detach().aminmax(dim=0)))
        elif f.device.type == "cpu" and not torch.compiler.is_compiling():
            self._expect_seen(f)
        return self._added(f)

    def over(self, feature: int, count: int = 50) -> tuple[Tensor, Tensor]:
        """One feature over the range of the training, (count,), and what is added for it.

        The other features are at the middle of their ranges.
        """
        f = self.range.mean(0).repeat(count, 1)
        f[:, feature] = self.range[0, feature].lerp(
            self.range[1, feature], torch.linspace(0, 1, count).to(f)
        )
        centre = CENTRES.get(self.features[feature], 0.0)
        return 10 ** (f[:, feature] + centre), self._added(f)

    def _added(self, f: Tensor) -> Tensor:
        hidden = torch.tanh(self.hidden(f.to(self.hidden.weight.dtype)))
        added: Tensor = self.last(hidden).reshape(-1, *self.shape)
        return added

    def remember(self) -> None:
        """Widen the known range by what the steps since the last call have seen."""
        while self._seen:
            low, high = self._seen.popleft().to(self.range)
            new = torch.stack([low.minimum(self.range[0]), high.maximum(self.range[1])])
            self.range.copy_(torch.where(self.known > 0, new, torch.stack([low, high])))
            self.known.fill_(1)

    def _logarithms(self, problem: Mapping[str, Tensor]) -> Tensor:
        """(B, F)."""
        columns = []
        for feature in self.features:
            if feature == NOISE_LEVEL and feature not in problem:
                raise ConfigError(
                    f"{self.name} depends on noise_level, and that of this measurement is not "
                    "known: pass noise_level=σ with it, fix the level of the noise of the physics, "
                    "or let it be estimated: physics/noise=measured."
                )
            value = problem[feature].flatten()
            seen = value.device.type == "cpu" and not torch.compiler.is_compiling()
            if seen and not bool((value > 0).all()):
                raise ConfigError(
                    f"{self.name} depends on {feature}, which is {float(value.min()):g} here: it "
                    "must be positive. Measure with noise, or name other features."
                )
            columns.append(value.log10() - CENTRES.get(feature, 0.0))
        batch = max(len(column) for column in columns)
        return torch.stack([column.expand(batch) for column in columns], dim=1)

    def _expect_seen(self, f: Tensor) -> None:
        """Warn of what lies outside the training."""
        low, high = self.range.to(f)
        outside = (f < low - MARGIN) | (f > high + MARGIN)
        if not (bool(self.known) and bool(outside.any())):
            return
        places = outside.any(0).nonzero().flatten().tolist()
        centres = [CENTRES.get(name, 0.0) for name in self.features]
        found = []
        for i in places:
            ends = [10 ** float(t[i] + centres[i]) for t in (low, high)]
            here = [10 ** float(t + centres[i]) for t in f[:, i].aminmax()]
            text = " to ".join(dict.fromkeys(f"{v:.3g}" for v in here))
            trained = f"trained from {ends[0]:.3g} to {ends[1]:.3g}"
            found.append(f"{self.features[i]} = {text}, {trained}")
        warnings.warn(
            f"{self.name} is outside what it was trained on: {'; '.join(found)}.",
            DataWarning,
            stacklevel=4,
        )


def expect_condition(
    conditions: Mapping[str, Sequence[str]],
    scalars: Mapping[str, object],
    learned: set[str],
    *,
    trains: bool,
) -> None:
    """Refuse conditions on networks, on what stays fixed, and of no or repeated features."""
    for name, features in conditions.items():
        if name not in scalars:
            raise ConfigError(
                f"Trainable.condition names '{name}', a network: only scalars depend on features. "
                f"Available: {listing(scalars)}."
            )
        if trains and name not in learned:
            raise ConfigError(
                f"Trainable.condition names '{name}', which is fixed; add it to Trainable.learn, "
                "or leave it out here."
            )
        if not features or len(set(features)) < len(features) or len(features) > 16:
            raise ConfigError(
                f"Trainable.condition.{name} = {list(features)}: 1 to 16 different names of "
                "features, such as [noise_level, sampling]."
            )
