"""The small configurations that those of strangers are tried against."""

from tests.config.conftest import configs, made_folder

__all__ = ["configs", "made_folder"]
