"""What is secret is not written down, and is read again where it has a place."""

import datetime
import random

import pytest
import yaml

from unfold.runs.secret_text import REDACTED, without_secrets
from unfold.runs.secrets import redacted, redacted_message, redacted_word, restored


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("logger.token=abc", f"logger.token={REDACTED}"),
        ("+logger.api_key=abc", f"+logger.api_key={REDACTED}"),
        ("logger.password=12345", f"logger.password={REDACTED}"),
        ("x={token: abc, lr: 1}", f"x={{token: {REDACTED}, lr: 1}}"),
        ("x={'my-secret':'a,b', lr: 1}", f"x={{'my-secret':{REDACTED}, lr: 1}}"),
        ("++l={tokens: [a1, b2], url: y}", f"++l={{tokens: [{REDACTED}, {REDACTED}], url: y}}"),
        ("x={key: {a: b1, c: [d2]}, e: f}", f"x={{key: {{a: {REDACTED}, c: [{REDACTED}]}}, e: f}}"),
        ("x={token: 'a, b', c: d}", f"x={{token: {REDACTED}, c: d}}"),
        ("x={token: a,b}", f"x={{token: {REDACTED},{REDACTED}}}"),
        ("x={token: a, token: null}", f"x={{token: {REDACTED}, token: null}}"),
        ("x={a: b} # token: c", f"x={{a: b}} # token: {REDACTED}"),
        ("x=[{'token': a}, note: key=b]", f"x=[{{'token': {REDACTED}}}, note: key={REDACTED}]"),
        ("x={token: [a1, b2], url: y", f"x={{token: {REDACTED}"),
        ("x={token: 'a1\n  b2", f"x={{token: {REDACTED}"),
        ("x={key: a1\nb2, c: [", f"x={{key: {REDACTED}"),
        ("x={token: 2024-13-45}", f"x={{token: {REDACTED}}}"),
        ("x={token:abc}", f"x={{token:{REDACTED}}}"),
        ("token:abc", f"token:{REDACTED}"),
        ("logger.tokens.mine=abc", f"logger.tokens.mine={REDACTED}"),
        ("logger.token=1.2.3", f"logger.token={REDACTED}"),
        ("x={password: 12, num_keys: 3}", f"x={{password: {REDACTED}, num_keys: 3}}"),
        ("logger.token=${oc.env:WANDB}", "logger.token=${oc.env:WANDB}"),
        ("x={token: ${oc.env:A}, lr: 1}", "x={token: ${oc.env:A}, lr: 1}"),
        ("x={token: ${oc.env:A,abc}}", f"x={{token: {REDACTED}"),
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


def test_all_below_a_secret_name_is_hidden():
    config = {"tokens": {"mine": "abc", "yours": [{"x": "def"}], "used": True, "none": None}}
    kept = {"mine": REDACTED, "yours": [{"x": REDACTED}], "used": True, "none": None}
    assert redacted(config) == {"tokens": kept}
    assert redacted({"token": datetime.date(2026, 1, 1)}) == {"token": REDACTED}


def test_a_secret_under_another_name_is_hidden_too():
    assert redacted_word("x={a: &n b1, token: *n}") == f"x={{a: {REDACTED}, token: *n}}"
    assert redacted_word("x={token: &n [a1, *n]}") == f"x={{token: {REDACTED}"
    assert redacted_word(f"x={{token: {'[' * 999}a1{']' * 999}}}") == f"x={{token: {REDACTED}"


@pytest.mark.parametrize(
    "text",
    [
        "logger.token={a: hunter2",
        "logger={token: hunter2",
        "note: logger.token=hunter2",
        "a:\n  tokens:\n  - hunter2\n  - hunter2\n  lr: 1\n",
        "# Config\n*****\na:\n  tokens:\n  - hunter2\n  - hunter2\n  lr: 1",
        "# Config\n*****\npassword: 'x\n\n  hunter2'\nlr: 1",
        "lr: {1: token=hunter2}",
        "{a: [\n      1], token: {\n    b: hunter2,\n  c: [",
    ],
)
def test_a_text_has_no_secret_however_yaml_reads_it(text):
    kept = without_secrets(text)
    assert "hunter2" not in kept and REDACTED in kept
    assert ("lr: 1" in kept) is ("lr: 1" in text)
    assert without_secrets(kept) == kept


def test_what_another_library_says_of_a_secret_is_hidden():
    words = ["algo.secret=hunter2", "++x={token: [ab, cd]}", "seed=1"]
    said = "Could not override 'algo.secret'. Use +algo.secret=hunter2, not 'hunter2'; seed=1"
    kept = redacted_message(said, words)
    assert "hunter2" not in kept and kept.startswith("Could not override 'algo.secret'. Use +algo")
    assert "cd" not in redacted_message("near {token: [ab, cd]}", words)
    assert redacted_message("full_key: x", ["seed=1"]) == "full_key: x"


HARD = (
    "s3cret",
    "s3cret, 2",
    "s3cret: 'x",
    "s3cret\n3",
    '"s3cret"',
    "s3cret # 4",
    "{s3cret",
    "a=s3cret}",
)
PLAIN = (1, 2.5, None, True, "x, y", "a\nb", "${oc.env:A}")


def drawn(draw, leaves, depth=0):
    """A value, nested at random."""
    kind = draw.random() if depth < 3 else 1
    if kind < 0.5:
        inner = [drawn(draw, leaves, depth + 1) for _ in range(draw.randint(1, 3))]
        return inner if kind < 0.25 else {f"a{i}": value for i, value in enumerate(inner)}
    return draw.choice(leaves)


def test_no_part_of_a_drawn_secret_is_left_also_where_the_text_is_cut():
    draw = random.Random(0)
    for number in range(150):
        flow, width = (True, False, None)[number % 3], draw.choice((20, 10000))
        plain = {"a": drawn(draw, PLAIN), "b": drawn(draw, PLAIN)}
        config = {"a": plain["a"], "my_token": drawn(draw, HARD), "b": plain["b"]}
        text = yaml.safe_dump(config, default_flow_style=flow, width=width, sort_keys=False)
        for part in (text, text[: draw.randrange(len(text))]):
            assert "s3cret" not in without_secrets(part) + redacted_word(f"x={part}"), part
        kept = yaml.safe_dump(plain, default_flow_style=flow, width=width)
        assert without_secrets(kept) == kept
