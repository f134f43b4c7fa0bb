"""The run that `run=` names, for the commands that use its weights."""

from typing import NamedTuple

from unfold.cli.runtime import keep_freed_memory, set_threads
from unfold.config.arguments import Arguments
from unfold.config.build import components_of
from unfold.config.check import Checked
from unfold.config.components import Components
from unfold.config.overrides import key_of
from unfold.config.stored_run import configured
from unfold.errors import ConfigError
from unfold.runs.catalogue import Entry, read_reference


class StoredRun(NamedTuple):
    """A run and the components of its configuration, with untrained weights."""

    reference: Entry
    checked: Checked
    components: Components


def open_run(given: Arguments, command: str) -> StoredRun:
    """The run that `run=` names, with the overrides that are given."""
    if "run" not in given.keys:
        raise ConfigError(f"unfold {command} needs a run. Write unfold {command} run=DIR.")
    keep_freed_memory()  # before PyTorch allocates anything
    folders = (text.partition("=")[2] for text in given.overrides if key_of(text) == "runs_dir")
    reference = read_reference(given.keys["run"], next(folders, "runs"))
    checked = configured(reference, [*given.folder_flags, *given.overrides])
    components = components_of(checked)
    set_threads(components.trainer.threads)
    return StoredRun(reference, checked, components)
