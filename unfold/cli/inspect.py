"""Hydra's own flags that show a configuration and run nothing: --cfg, --info, completion."""

import os
import sys
from collections.abc import Sequence

FLAGS = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc", "--version")


def asks_to_inspect(arguments: Sequence[str]) -> bool:
    """Whether one of Hydra's flags for inspecting a configuration is given."""
    return any(text.partition("=")[0] in FLAGS for text in arguments)


def inspect(arguments: Sequence[str]) -> int:
    """Let Hydra answer.

    Raises:
        ConfigError: the configuration cannot be composed.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    from unfold.config.arguments import TRAIN
    from unfold.config.build import verify
    from unfold.config.compose import compose
    from unfold.config.options import configs_folder, first_line
    from unfold.errors import ConfigError

    def nothing(config: DictConfig) -> None:
        """Hydra wants a task; none of these flags runs it."""

    before = sys.argv
    sys.argv = [before[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise instead of printing and exiting
    try:
        folder = str(configs_folder())
        hydra.main(config_path=folder, config_name="train", version_base="1.3")(nothing)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        given = TRAIN.parse(arguments, known_only=True)
        overrides = [text for text in given.overrides if "=" in text]
        sweep = ["-m"] if given.multirun else []
        verify(compose([*sweep, *given.folder_flags, *overrides]))  # has the better message
        raise ConfigError(first_line(error)) from error
    finally:
        sys.argv = before
        del os.environ["HYDRA_FULL_ERROR"]
    return 0
