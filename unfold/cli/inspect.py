"""Hydra's own flags that show a configuration and run nothing: --cfg, --info, completion."""

import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

FLAGS = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc", "--version")


def asks_to_inspect(words: Sequence[str]) -> bool:
    """Whether a word is one of Hydra's flags for looking at a configuration."""
    return any(word.partition("=")[0] in FLAGS for word in words)


def show(words: Sequence[str]) -> int:
    """Let Hydra answer; what is secret is left out of it.

    Raises:
        ConfigError: the configuration cannot be composed.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    from unfold.config.compose import compose
    from unfold.config.locate import configs_folder
    from unfold.config.options import first_line
    from unfold.config.problems import refuse
    from unfold.errors import ConfigError
    from unfold.runs.secrets import redacted_text

    def nothing(config: DictConfig) -> None:
        """Hydra wants a task; none of these flags runs it."""

    before = sys.argv
    sys.argv = [before[0], *words]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise instead of printing and leaving
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            folder = str(configs_folder())
            hydra.main(config_path=folder, config_name="train", version_base="1.3")(nothing)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        refuse(compose([word for word in words if "=" in word and word[0] != "-"]).problems)
        raise ConfigError(first_line(error)) from error
    finally:
        sys.argv = before
        del os.environ["HYDRA_FULL_ERROR"]
        sys.stdout.write(redacted_text(said.getvalue()))
    return 0
