"""Values are converted where it is exact, and refused otherwise."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from unfold.config.values import Mismatch, read
from unfold.typing import Scalar


def visit(node: Mapping[str, Any], annotation: Any, path: str) -> str:
    return f"component at {path}"


GOOD = [
    (1, int, 1),
    (1, float, 1.0),
    (1, int | float, 1),
    (1.5, int | float, 1.5),
    ("a", str, "a"),
    ("a/b", Path, Path("a/b")),
    (None, int | None, None),
    ([1, 2], tuple[float, float], (1.0, 2.0)),
    ([1, 2, 3], tuple[int, ...], (1, 2, 3)),
    ([1], list[int], [1]),
    ([[1, 2]], Sequence[tuple[float, float]], [(1.0, 2.0)]),
    ([1, 2], float | tuple[float, float], (1.0, 2.0)),
    ({"a": [0, 1]}, Mapping[str, tuple[float, float]], {"a": (0.0, 1.0)}),
    ("x", Literal["x", "y"], "x"),
    (0.5, Annotated[float, "unit"], 0.5),
    ([1, {"a": 2}], Any, [1, {"a": 2}]),
    ({"_target_": "x"}, Any, "component at key"),
    ([{"_target_": "x"}], tuple[object, ...], ("component at key[0]",)),
    ({"a": {"_target_": "x"}}, Mapping[str, object], {"a": "component at key.a"}),
    (1.0, Scalar, 1.0),
    ([1.0, 2.0], Scalar, [1.0, 2.0]),
]


@pytest.mark.parametrize(("value", "annotation", "expected"), GOOD)
def test_a_value_that_fits(value, annotation, expected):
    found = read(value, annotation, "key", visit)
    assert found == expected
    assert type(found) is type(expected)


BAD = [
    (True, int, "a whole number"),
    (True, float, "a number"),
    (1, bool, "true or false"),
    (1.0, int, "a whole number"),
    ("1", int, "a whole number"),
    (1, str, "a string"),
    ("ab", Sequence[str], "a list"),
    ([1, 2, 3], tuple[float, float], "a list of 2 values"),
    ("z", Literal["x", "y"], "one of x, y"),
    ([1], int | None, "a whole number or null"),
    (3, Mapping[str, int], "a block of keys"),
    ({"a": 1}, float, "a number"),
]


@pytest.mark.parametrize(("value", "annotation", "expected"), BAD)
def test_a_value_that_does_not_fit(value, annotation, expected):
    with pytest.raises(Mismatch) as caught:
        read(value, annotation, "key", visit)
    assert caught.value.expected == expected


def test_the_place_inside_a_collection_is_named():
    with pytest.raises(Mismatch) as caught:
        read({"a": [1, "x"]}, Mapping[str, list[int]], "key", visit)
    assert caught.value.path == "key.a[1]"
