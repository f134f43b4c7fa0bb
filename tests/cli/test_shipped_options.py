"""Every file in configs/ is a configuration that can be built."""

from pathlib import Path

import pytest

from unfold.config.build import verify
from unfold.config.compose import compose
from unfold.config.locate import configs_folder
from unfold.config.schema import GROUPS, PRESETS

ALSO = {
    "data=folder": ["data.root=."],
    "model=classical": ["prior=tikhonov"],
    "sweep=": ["-m"],
    "algo=analysis_pdhg": ["prior=tv"],
    "algo=condat_vu": ["prior=tv"],
}
"""What some options need beside them."""


def shipped() -> list[str]:
    folder = configs_folder()
    files = [path.relative_to(folder).with_suffix("") for path in folder.glob("*/**/*.yaml")]
    return sorted(f"{path.parent}={path.name}" for path in files)


@pytest.mark.parametrize("option", shipped())
def test_an_option_can_be_built(option):
    group = option.partition("=")[0]
    more = [*ALSO.get(option, []), *ALSO.get(f"{group}=", [])]
    if group == "model/backward" or group == "model/solver":
        more += ["model=deq"] if Path(option).name not in UNFOLDED else []
    assert verify(compose([option, *more]))


UNFOLDED = {"backward=full", "backward=checkpoint", "backward=truncated"}


def test_every_group_is_known():
    known = {*GROUPS, *PRESETS, "trainable"}
    assert {path.name for path in configs_folder().iterdir() if path.is_dir()} == known
