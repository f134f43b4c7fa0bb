"""What is secret is not written down, and is read again where it has a place."""

import pytest

from unfold.runs.secrets import REDACTED, redacted, redacted_word, restored


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("logger.token=abc", f"logger.token={REDACTED}"),
        ("+logger.api_key=abc", f"+logger.api_key={REDACTED}"),
        ("logger.password=12345", f"logger.password={REDACTED}"),
        ("x={token: abc, lr: 1}", f"x={{token: {REDACTED}, lr: 1}}"),
        ("x={'my-secret':'a,b', lr: 1}", f"x={{'my-secret':{REDACTED}, lr: 1}}"),
        ("logger.token=${oc.env:WANDB}", "logger.token=${oc.env:WANDB}"),
        ("x={token: ${oc.env:A}}", "x={token: ${oc.env:A}}"),
        ("logger.token=${oc.env:WANDB,abc}", f"logger.token={REDACTED}"),
        ("logger.token=null", "logger.token=null"),
        ("model.num_tokens=8", "model.num_tokens=8"),
        ("data.root=/a/key=b", f"data.root=/a/key={REDACTED}"),
        ("algo=pgd", "algo=pgd"),
        ("--config-dir=mine", "--config-dir=mine"),
    ],
)
def test_a_word_keeps_the_place_of_a_secret_not_its_value(word, kept):
    assert redacted_word(word) == kept
    assert redacted_word(kept) == kept


def test_a_configuration_loses_its_secrets_and_gets_them_back():
    config = {"a": {"api_key": "abc", "tokens": 8, "list": [{"SECRET": "x"}]}, "password": 7}
    hidden = redacted(config)
    assert hidden == {
        "a": {"api_key": REDACTED, "tokens": 8, "list": [{"SECRET": REDACTED}]},
        "password": REDACTED,
    }
    assert restored(hidden, config) == config
    assert restored({"a": {"key": REDACTED}}, {}) == {"a": {"key": REDACTED}}
