"""The arguments of every command: names, flags, keys of the command, and overrides."""

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from unfold.disk import expand
from unfold.errors import ConfigError, listing, nearest

HOME = re.compile(r"(?<=[=,\[])(~[^,\]]*)")
"""A path in a home folder, which Hydra's grammar reads in quotes only."""

DEPTH = 50
"""Brackets inside each other; the parser of overrides is recursive."""

COUNTS = ("no run", "one run", "two runs")


@dataclass(frozen=True)
class Arguments:
    """What was typed after the command; `keys` are settings of the command itself."""

    overrides: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    multirun: bool = False
    config_dirs: tuple[Path, ...] = ()

    @property
    def folder_flags(self) -> list[str]:
        """`--config-dir` for each folder, each as one argument."""
        return [f"--config-dir={folder}" for folder in self.config_dirs]

    @property
    def runs_dir(self) -> Path:
        """The folder of all runs, of commands that have the key."""
        return expand(self.keys.get("runs_dir", "runs"), "runs_dir")


@dataclass(frozen=True)
class Syntax:
    """What a command takes; its `--help` is made from it.

    `names` are of its positional arguments, `RUN`, `[GLOB]` where it may be left out, or `RUN...`
    of which there may be several; `keys` and `flags` come with their help, and each takes a value.
    """

    command: str
    summary: str
    names: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    overrides: bool = True
    sweeps: bool = False

    def parse(self, arguments: Sequence[str], *, known_only: bool = False) -> Arguments:
        """Separate names, flags, keys and overrides; `--help` prints the help and exits."""
        parser = self._parser()
        try:
            given, unknown = parser.parse_known_intermixed_args(list(arguments))
        except argparse.ArgumentError as error:
            flag = str(error.argument_name).rpartition("/")[2]
            text = f"{flag}: give it a value, {self.flags.get(flag, 'DIR')}."
            raise ConfigError(text) from error
        if unknown and not known_only:
            flag = unknown[0].partition("=")[0]
            known = [text for action in parser._actions for text in action.option_strings]
            raise ConfigError(
                f"{unknown[0]}: unknown flag{nearest(flag, known)} Allowed: {listing(known)}. "
                "Settings are written key=value."
            )
        names: list[str] = []
        keys: dict[str, str] = {}
        overrides: list[str] = []
        for text in given.arguments:
            key, separator, value = text.partition("=")
            if separator and key in self.keys:
                if key in keys or not value:
                    raise ConfigError(f"{text}: give {key} once, with a value.")
                keys[key] = value
            elif separator or (self.overrides and not self.names):
                _readable(text)
                overrides.append(text if {"'", '"'} & set(text) else HOME.sub(r"'\1'", text))
            else:
                names.append(text)
        self._check(names, overrides)
        flags = {flag: getattr(given, flag.removeprefix("--")) for flag in self.flags}
        return Arguments(
            tuple(overrides),
            tuple(names),
            keys,
            {flag: value for flag, value in flags.items() if value is not None},
            getattr(given, "multirun", False),
            tuple(_folder(value) for value in getattr(given, "config_dirs", ())),
        )

    def _parser(self) -> argparse.ArgumentParser:
        usage = " ".join([*self.names, *(f"[{key}=...]" for key in self.keys)])
        parser = argparse.ArgumentParser(
            prog=f"unfold {self.command}",
            usage=f"%(prog)s {usage}{' [KEY=VALUE ...]' if self.overrides else ''} [flags]",
            description=self.summary,
            epilog="\n".join(f"  {key + '=...':<20} {text}" for key, text in self.keys.items()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            exit_on_error=False,
        )
        for flag, text in self.flags.items():
            parser.add_argument(flag, metavar="VALUE", help=text)
        if self.sweeps:
            parser.add_argument("-m", "--multirun", action="store_true", help="run a sweep")
        if self.overrides:
            parser.add_argument(
                *("-cd", "--config-dir"),
                dest="config_dirs",
                default=[],
                action="append",
                metavar="DIR",
                help="a folder of options, such as DIR/algo/mine.yaml",
            )
        parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
        return parser

    def _check(self, names: Sequence[str], overrides: Sequence[str]) -> None:
        given = " ".join(names) or "nothing"
        if self.names and self.names[0].startswith("["):
            if len(names) > 1:
                raise ConfigError(
                    f"unfold {self.command} takes one pattern, got {given}. Put it in quotes."
                )
        elif self.names and self.names[0].endswith("...") and names:
            pass
        elif len(names) != len(self.names):
            raise ConfigError(
                f"unfold {self.command} needs {COUNTS[len(self.names)]}, unfold {self.command} "
                f"{' '.join(self.names)}, got {given}."
            )
        if overrides and not self.overrides:
            own = ", ".join(f"{key}=DIR" for key in self.keys)
            raise ConfigError(f"{overrides[0]}: unfold {self.command} takes only {own}.")


def _readable(text: str) -> None:
    """Refuse an override that no configuration file could hold, or that is nested too deeply."""
    if not text.isascii() and text.encode(errors="replace").decode() != text:
        raise ConfigError(
            f"{text}: is not UTF-8, as every override must be. Type it in UTF-8; for a file with "
            "such a name, rename it, or make a symbolic link to it."
        )
    deepest = max(accumulate((c in "[{(") - (c in ")}]") for c in text), default=0)
    if deepest > DEPTH:
        raise ConfigError(
            f"{text[:30]}…: {deepest} brackets are open inside each other, and a value has at most "
            f"{DEPTH}. Close every bracket, or put the value into a file of --config-dir."
        )


def _folder(value: str) -> Path:
    folder = Path(value).resolve()
    if not value or not folder.is_dir():
        raise ConfigError(f"--config-dir {value}: no such folder; it holds e.g. algo/mine.yaml.")
    return folder


TRAIN = Syntax("train", "Train, then evaluate; with -m a sweep over all combinations.", sweeps=True)
"""Also of every configuration that is composed."""
