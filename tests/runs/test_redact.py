"""Values under a secret key are not written down, and are read again where they have a place."""

import datetime

import pytest

from unfold.runs.redact import REDACTED, is_secret, redacted, redacted_override, restored


@pytest.mark.parametrize(
    "key", ["token", "logger.api_key", "apiKey", "db_password", "SECRET", "my-secret", "x.Token"]
)
def test_the_last_word_of_a_key_makes_it_secret(key):
    assert is_secret(key)


@pytest.mark.parametrize("key", ["num_tokens", "key", "token_count", "monkey", "tokens", "broken"])
def test_other_keys_are_not_secret(key):
    assert not is_secret(key)


@pytest.mark.parametrize(
    ("override", "stored"),
    [
        ("logger.token=abc", f"logger.token={REDACTED}"),
        ("+logger.api_key=abc", f"+logger.api_key={REDACTED}"),
        ("logger.password=12345", f"logger.password={REDACTED}"),
        ("logger.token=1.2.3", f"logger.token={REDACTED}"),
        ("x={token: abc, lr: 1}", f"x={REDACTED}"),
        ("x={'my-secret':'a,b', lr: 1}", f"x={REDACTED}"),
        ("x=[{a: {password: 1}}]", f"x={REDACTED}"),
        ("x={token:abc}", f"x={REDACTED}"),
        ("x={token: ${oc.env:A,abc}}", f"x={REDACTED}"),
        ("logger.token=${oc.env:WANDB,abc}", f"logger.token={REDACTED}"),
        ("logger.token=${oc.env:WANDB}", "logger.token=${oc.env:WANDB}"),
        ("logger.token='${oc.env:WANDB}'", "logger.token='${oc.env:WANDB}'"),
        ("x={token: ${oc.env:A}, lr: 1}", "x={token: ${oc.env:A}, lr: 1}"),
        ("logger.token=null", "logger.token=null"),
        ("model.num_tokens=8", "model.num_tokens=8"),
        ("algo=pgd", "algo=pgd"),
        ("--config-dir=mine", "--config-dir=mine"),
    ],
)
def test_an_override_keeps_the_place_of_a_secret_not_its_value(override, stored):
    assert redacted_override(override) == stored
    assert redacted_override(stored) == stored


def test_a_configuration_loses_its_secrets_and_gets_them_back():
    config = {
        "a": {"api_key": "abc", "tokens": 8, "list": [{"SECRET": "x"}]},
        "password": 7,
        "token": datetime.date(2026, 1, 1),
        "secret": {"mine": "abc"},
    }
    hidden = redacted(config)
    assert hidden == {
        "a": {"api_key": REDACTED, "tokens": 8, "list": [{"SECRET": REDACTED}]},
        "password": REDACTED,
        "token": REDACTED,
        "secret": REDACTED,
    }
    assert restored(hidden, config) == config
    assert restored({"a": {"key": REDACTED}}, {}) == {"a": {"key": REDACTED}}
    assert restored({"a": "${oc.env:A}/x"}, {"a": "b/x"}) == {"a": "b/x"}


def test_what_holds_no_secret_stays():
    config = {"token": None, "password": "${oc.env:A}", "secret": "", "api_key": False}
    assert redacted(config) == config
