"""An override that cannot be read is reported with its column, without parser jargon."""

import pytest

from tests.config.folder import refusal
from unfold.config.overrides import why_unreadable

WORDS = {
    "algo.stepsize=[1,2": "the [ at column 15 is not closed",
    "a={x:[1,2}": "the } at column 10 closes nothing",
    "a=1]": "the ] at column 4 closes nothing",
    "name='ab": "the ' at column 6 is not closed",
    'name="a[b': 'the " at column 6 is not closed',
    "seed=1=2": "there is another = at column 7",
    "name=a;b": "column 7 has ';'",
    "seed": "it has no =",
    "=": "it is not of that form",
}


@pytest.mark.parametrize(("word", "reason"), WORDS.items())
def test_the_column_is_reported(word, reason):
    assert why_unreadable(word) == reason


@pytest.mark.parametrize(
    "word", ["algo.stepsize=[1,2", "name='ab", "seed=1=2", "=x y", "name=a,,b", "seed"]
)
def test_no_parser_jargon(word):
    said = refusal(word)
    assert "viable" not in said and "expecting" not in said and "mismatched" not in said
    assert word in said


def test_a_variable_that_is_not_set_is_named_with_what_to_do(monkeypatch):
    monkeypatch.delenv("NOT_THERE", raising=False)
    assert refusal("objective=${oc.env:NOT_THERE}") == (
        "objective = ${oc.env:NOT_THERE}: the environment variable NOT_THERE is not set. Set it, "
        "or write ${oc.env:NOT_THERE,VALUE} for a default."
    )


def test_a_reference_to_nothing_names_the_key():
    said = refusal("name=${nothing.here}")
    assert "name = ${nothing.here}: cannot be resolved: the configuration has no key" in said
    assert "object_type" not in said and "nothing" in said
