"""Refusals of numbers that a recipe of this package cannot mean."""

import math

from unfold.errors import ConfigError


def refuse(name: str, value: object, *, unless: bool, must: str) -> None:
    """Say what a field must be, unless it is.

    Raises:
        ConfigError: names the field, its value and what is allowed.
    """
    if not unless:
        raise ConfigError(f"{name} = {value}: must be {must}.")


def positive(name: str, value: float) -> None:
    """Refuse a number that is not positive and finite."""
    refuse(name, value, unless=0 < value < math.inf, must="positive and finite")
