"""The configuration of a stored run, with other overrides."""

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from unfold.config.arguments import TRAIN
from unfold.config.build import verify
from unfold.config.check import Checked
from unfold.config.compose import compose
from unfold.config.errors import refuse
from unfold.config.overrides import address_of, key_of
from unfold.config.schema import GROUPS, NAMED, PRESETS, Settings
from unfold.errors import ConfigError, UnfoldError
from unfold.runs import files
from unfold.runs.catalogue import Entry, read_reference
from unfold.runs.compare import differences
from unfold.runs.identity import EXTEND, differing, find_weights, hashed_part, names_weights
from unfold.runs.redact import REDACTED, redacted, restored

NOT_KEPT = frozenset({"trust", "rerun", "accept_code"})
"""Overrides of one start only; and a run never brings its own trust, as a stranger may have made
it."""


def configured(reference: Entry, overrides: Sequence[str]) -> Checked:
    """The run's configuration, in which the groups that the overrides name are composed anew."""
    named = {key_of(text) for text in TRAIN.parse(overrides).overrides}
    composed = compose([*stored_overrides(reference, overrides), *overrides])
    if not composed.jobs:
        refuse(composed.problems)
    job = composed.jobs[0]
    changed = {key.split(".")[0].split("/")[0] for key in named}
    own = {} if changed & {*NAMED} else reference.config
    stored = {k: v if k in changed else own.get(k, v) for k, v in job.stored.items()}
    choices = {
        k: v if k in changed else reference.choices.get(k, v) for k, v in job.choices.items()
    }
    config = restored(stored, job.config)  # secrets and variables, which are not stored
    job = replace(job, config=config, stored=stored, choices=choices)
    return verify(replace(composed, jobs=(job,), extends=True))[0]


def stored_overrides(reference: Entry, given: Sequence[str]) -> list[str]:
    """The run's own folders and overrides, except those that are given again."""
    typed = TRAIN.parse(given)
    named = {address_of(text): text.partition("=")[2] for text in typed.overrides}
    _refuse_steering(reference)
    others = {k for k, v in named.items() if reference.choices.get(k, v) != v}
    kept = [
        text
        for text in reference.overrides
        if address_of(text) not in named
        and key_of(text) not in NOT_KEPT
        and not _of_former(text, others)
    ]
    for text in kept:
        if REDACTED in text:
            key = key_of(text)
            raise ConfigError(
                f"{reference.path}: the value of {key} is secret and was not kept. "
                f"Give it again, {key}=VALUE or {key}='${{oc.env:NAME}}'."
            )
    folders = () if typed.config_dirs else reference.folders
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(
                f"{reference.path} was made with --config-dir {folder}, which is gone. "
                "Name the folder of its options: --config-dir DIR."
            )
    return [*(f"--config-dir={folder}" for folder in folders), *kept]


def _of_former(text: str, others: Collection[str]) -> bool:
    """Whether an override is of a group whose option is another one now, so that it has no use.

    Noise is kept under another physics, as most have one.
    """
    key = address_of(text).partition("@")[2] or key_of(text)
    inside = re.sub(r"[./]", ".", key)
    noise = inside.startswith("physics.noise") and "physics/noise" not in others
    return not noise and any(inside.startswith(f"{one.replace('/', '.')}.") for one in others)


def _refuse_steering(reference: Entry) -> None:
    """Refuse stored flags and keys of Hydra's, which decide where options and code come from."""
    groups = {*GROUPS, *PRESETS, "trainable"}
    known = groups | {*Settings.__dataclass_fields__}
    if odd := sorted({*map(str, reference.config)} - known):
        raise ConfigError(
            f"{reference.path}: config.yaml has the key {odd[0]}, which no run has: only groups "
            "and settings are stored. The file was edited; do not use the run."
        )
    for text in reference.overrides:
        group, *places = (re.split(r"[./]", key)[0] for key in address_of(text).split("@"))
        of = groups if places else known  # a setting has no other place
        if text.startswith("-") or group not in of or not {*places} <= {*groups, "_global_"}:
            raise ConfigError(
                f"{reference.path}: overrides.yaml has {text!r}, which no run has: only groups and "
                "settings are stored. The file was edited; do not use the run."
            )


def with_full_paths(overrides: Sequence[str], runs_dir: str | Path) -> list[str]:
    """The overrides with the weights of other runs by path, which holds for any `runs_dir`."""
    found = []
    for text in overrides:
        key, _, value = text.partition("=")
        if names_weights(key_of(text), value) and value not in ("", "null"):
            with suppress(UnfoldError):
                text = f"{key}={find_weights(value, runs_dir).resolve()}"
        found.append(text)
    return found


MAY_DIFFER = ("evaluation", "extend", "trainer.max_steps", "trainer.max_epochs")
"""Keys of a run in which one that trains longer may differ, with those that change no number."""


def extended(arguments: Sequence[str]) -> Checked | None:
    """The configuration of the run that `extend=` names, trained longer; None without that key.

    Raises:
        ConfigError: the run is not finished, was not trained, was made by other code, ended before
            its last step, has as many steps, or differs in more.
    """
    given = TRAIN.parse(arguments)
    named = {key_of(text): text.partition("=")[2] for text in given.overrides}
    if (text := named.get(EXTEND, "null")) in ("", "null"):
        return None
    if given.multirun:
        raise ConfigError(f"extend = {text}: a sweep cannot extend a run. Leave out -m.")
    reference = read_reference(text, named.get("runs_dir", "runs"))
    checked = configured(reference, [*given.folder_flags, *given.overrides])
    one, other = (hashed_part(c, {}) for c in (reference.config, redacted(checked.job.stored)))
    keys = [d.what for d in differences(one, other) if not d.what.startswith(MAY_DIFFER)]
    trainer, steps = checked.job.config["trainer"], int(reference.scores.get("steps", 0))
    planned = reference.config["trainer"]["max_steps"]
    code = differing(files.origin_of(reference.path)["sources"], checked.job.trust)
    refused = {
        f"it is {reference.state}; finish it first": reference.state != "finished",
        "nothing was trained in it": steps == 0,
        "it was trained in stages; take its weights as the start, init_from=RUN": bool(
            set(checked.job.config["stages"]) - {"_target_"}
        ),
        f"{', '.join(keys[:4])} differ; take its weights as the start, init_from=RUN": bool(keys),
        f"it ended at step {steps} of {planned}, as trainer.early_stopping or trainer.max_epochs "
        "asks": steps < planned and trainer["max_epochs"] == reference.get("trainer.max_epochs"),
        f"it has made {steps} steps; add trainer.max_steps=N with more": (
            0 <= trainer["max_steps"] <= steps
        ),
        f"other code made it ({', '.join(code[:4])}); add accept_code=true": bool(code)
        and not checked.settings.accept_code,
    }
    for reason, holds in refused.items():
        if holds:
            raise ConfigError(f"extend = {text}: {reason}.")
    return checked
