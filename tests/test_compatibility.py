"""Parts that do not fit each other, on the command line; `test_reconstructor.py` has the others."""

import pytest

from unfold.config.build import verify
from unfold.config.compose import compose
from unfold.errors import ConfigError, MisfitError


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["algo=gd", "prior=tv"],
            r"^algo=gd needs a gradient of the prior, and prior=tv has none. With one: .*"
            r"prior=general_tikhonov.*Algorithms that take prior=tv: .*algo=admm, ",
        ),
        (
            ["algo=condat_vu", "prior=dncnn"],
            "and prior=dncnn has none. With one: .*prior=tv, prior=tv_an",
        ),
    ],
)
def test_parts_that_do_not_fit_are_told_as_they_are_typed(words, message):
    with pytest.raises(ConfigError, match=message):
        verify(compose(words))


def test_an_error_of_parts_can_be_told_with_more_words():
    """As the rehearsal does, which says at which law an error was met."""
    error = MisfitError.of(lambda name: f"no {name(int)}")
    again = type(error)(f"here: {error}")
    assert str(again) == again.told(lambda part: "x") == "here: no int"
    assert error.told(lambda part: "whole number") == "no whole number"
