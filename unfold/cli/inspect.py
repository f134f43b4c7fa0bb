"""Hydra's own flags that show a configuration and run nothing: --cfg, --info, completion."""

import os
import sys
from collections.abc import Sequence

FLAGS = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc", "--version")


def asks_to_inspect(words: Sequence[str]) -> bool:
    """Whether a word is one of Hydra's flags for looking at a configuration."""
    return any(word.partition("=")[0] in FLAGS for word in words)


def show(words: Sequence[str]) -> int:
    """Let Hydra answer.

    Raises:
        ConfigError: the configuration cannot be composed.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    from unfold.config.build import verify
    from unfold.config.compose import compose
    from unfold.config.options import configs_folder, first_line
    from unfold.errors import ConfigError

    def nothing(config: DictConfig) -> None:
        """Hydra wants a task; none of these flags runs it."""

    before = sys.argv
    sys.argv = [before[0], *words]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise instead of printing and leaving
    try:
        folder = str(configs_folder())
        hydra.main(config_path=folder, config_name="train", version_base="1.3")(nothing)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        verify(compose(_settings(words)))  # says more
        raise ConfigError(first_line(error)) from error
    finally:
        sys.argv = before
        del os.environ["HYDRA_FULL_ERROR"]
    return 0


def _settings(words: Sequence[str]) -> list[str]:
    """The words that `train.py` takes too."""
    from unfold.cli.arguments import take_folders

    folders, others = take_folders(words)
    sweeps = [word for word in others if word in ("-m", "--multirun")]
    return [*folders, *sweeps, *(word for word in others if "=" in word and word[0] != "-")]
