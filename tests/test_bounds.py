"""What a component accepts is declared beside its field, and read from there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch

from unfold.errors import ConfigError
from unfold.parameters.bounds import (
    Declared,
    above,
    at_least,
    bounded,
    bounds_of,
    finite,
    inside,
    nonnegative,
    one_of,
    positive,
    whole,
)


@dataclass(frozen=True)
class Part(Declared):
    """One field of every kind."""

    size: int = bounded(accepted=whole(1, 16))
    step: float = bounded(1.0, positive, "in pixels")
    offset: float = bounded(0.0, finite)
    keep: float | Sequence[float] = bounded(
        0.5, inside("(0, 1]"), "the fraction that is kept", level=True
    )
    factors: Sequence[int] = bounded((2, 3), at_least(1))
    kind: str = bounded("rows", one_of("rows", "columns"))
    limit: float | None = bounded(None, above(2))
    weight: float | torch.Tensor = bounded(0.0, nonnegative)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 0}, r"Part.size = 0: must be a whole number from 1 to 16\."),
        ({"size": True}, r"Part.size = True: must be a whole number"),
        ({"size": 2.5}, r"Part.size = 2.5: must be a whole number"),
        ({"step": 0.0}, r"Part.step = 0.0: must be positive, in pixels\."),
        ({"step": math.nan}, r"Part.step = nan: must be positive"),
        ({"step": math.inf}, r"Part.step = inf: must be positive"),
        ({"step": "wide"}, r"Part.step = 'wide': must be positive"),
        ({"offset": -math.inf}, r"Part.offset = -inf: must be finite"),
        ({"keep": 0.0}, r"Part.keep = 0.0: must be in \(0, 1\], the fraction that is kept\."),
        ({"keep": [0.2, 1.1]}, r"Part.keep = \[0.2, 1.1\]: must be in \(0, 1\]"),
        ({"keep": [0.5, 0.2]}, r"Part.keep = \[0.5, 0.2\]: a range is two numbers"),
        ({"keep": [0.5]}, r"Part.keep = \[0.5\]: a range is two numbers"),
        ({"factors": [2, 0]}, r"Part.factors = \[2, 0\]: must be at least 1"),
        ({"kind": "row"}, r"Part.kind = 'row': must be one of \['columns', 'rows'\], did you mean"),
        ({"limit": 2.0}, r"Part.limit = 2.0: must be above 2"),
        ({"weight": -1}, r"Part.weight = -1: must be zero or positive"),
        ({"step": None}, r"Part.step = None: must be positive"),
    ],
)
def test_a_value_outside_is_refused_with_what_is_allowed(values, message):
    with pytest.raises(ConfigError, match=message):
        Part(**{"size": 1, **values})


def test_values_inside_are_kept_as_components_use_them():
    part = Part(16, keep=[0.2, 1], factors=[2, 4], limit=3.0, weight=torch.tensor(-1.0))
    assert (part.keep, part.factors, part.limit) == ((0.2, 1.0), (2, 4), 3.0)
    assert Part(1, keep=1).keep == 1.0 and type(Part(1, keep=1).keep) is float
    assert Part(1, keep=[0.4, 0.4]).keep == 0.4 and Part(1).limit is None


def test_the_declarations_are_readable():
    assert str(bounds_of(Part)["keep"]) == "in (0, 1], the fraction that is kept"
    assert str(bounds_of(Part)["size"]) == "a whole number from 1 to 16"
    assert bounds_of(int) == {}
