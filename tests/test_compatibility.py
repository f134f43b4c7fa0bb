"""Parts that do not fit each other, on the command line; `test_reconstructor.py` has the others."""

import pytest

from unfold.config.build import verify
from unfold.config.compose import compose
from unfold.errors import ConfigError, IncompatibleError


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
def test_parts_that_do_not_fit_are_named_by_their_options(words, message):
    with pytest.raises(ConfigError, match=message):
        verify(compose(words))


def test_an_incompatibility_names_its_components_in_any_vocabulary():
    """As the dry run does, which says at which operator an error was met."""
    error = IncompatibleError("no {number}; use {others}", number=int, others=[str, float])
    assert str(error) == "no int; use float, str"
    assert error.named(lambda component: f"type={component.__name__}") == (
        "no type=int; use type=float, type=str"
    )
    assert str(type(error)(f"here: {error} {{}}")) == "here: no int; use float, str {}"
