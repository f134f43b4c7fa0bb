import sys
import types
from dataclasses import dataclass

import pytest
import torch

from tests.config.folder import make_folder
from unfold.data.image_data import ImageData
from unfold.errors import DataError
from unfold.evaluation.base import Evaluation
from unfold.training.checkpoints.checksum import with_checksum

FAKE = "unfold.data.stand_in"


@dataclass(frozen=True, eq=False)
class Images(ImageData):
    """One image, or none that can be read.

    Args:
        fault: what is wrong with the images.
    """

    seed: int = 0
    crop: int = 16
    fault: str = ""

    def files(self):
        return {}

    def check(self, *, training: bool = True) -> None:
        if self.fault:
            raise DataError(self.fault)

    def fingerprint(self) -> str:
        return "images"

    def shapes(self):
        return {"test": [("one", (1, 16, 16))]}

    def images(self, split: str):
        return [("one", torch.zeros(1, 16, 16))]


@dataclass(frozen=True)
class Measures(Evaluation):
    """What the stand-in of `evaluate` is called with."""

    def run(self, context):
        raise NotImplementedError


class Log(list):
    """What the stand-ins were called with, in order."""

    fail = None


@pytest.fixture
def configs(tmp_path_factory):
    folder = make_folder(tmp_path_factory.mktemp("configs"))
    (folder / "data/embedded.yaml").write_text(f"_target_: {FAKE}.Images\n")
    (folder / "prior/tikhonov.yaml").write_text("_target_: unfold.priors.tikhonov.Tikhonov\n")
    (folder / "evaluation/auto.yaml").write_text(f"_target_: {FAKE}.Measures\n")
    return folder


@pytest.fixture
def calls(monkeypatch, configs, tmp_path):
    """The command line with training and evaluation that do nothing but take notes."""
    for module in ("config.compose", "config.options"):
        monkeypatch.setattr(f"unfold.{module}.configs_folder", lambda: configs)
    monkeypatch.chdir(tmp_path)
    log = Log()

    def fit(training, data, settings, to, directory, *, objective, resume_from=None):
        log.append(("fit", directory.name, resume_from, list(sys.argv[1:])))
        if log.fail is not None:
            (directory / "checkpoints").mkdir(exist_ok=True)
            (directory / "checkpoints/last.ckpt").write_bytes(with_checksum(b"half\0\0"))
            raise log.fail
        return {"best validation/psnr": 30.0}

    def validate(training, data, settings, directory, objective):
        return {f"best {objective}": 30.0}

    def evaluate(evaluation, context):
        log.append(("evaluate", context.directory.name, context.trained_on, context.seed))
        return {"matched": 31.0}

    def load_weights(reconstructor, path):
        log.append(("load", path.name))

    class Training:
        def __init__(self, **parts):
            pass

    stand_ins = {
        "training.fit.fit": fit,
        "training.fit.validate": validate,
        "training.module.Training": Training,
        "training.checkpoints.weights.load_weights": load_weights,
        "evaluation.base.evaluate": evaluate,
        "evaluation.single_image.read_cropped": lambda *parts: torch.zeros(1, 4, 4),
        "evaluation.single_image.reconstruct_simulated": lambda *parts: {},
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(f"unfold.{name}", stand_in)
    module = types.ModuleType(FAKE)
    vars(module)["Images"] = Images
    vars(module)["Measures"] = Measures
    for kind in (Images, Measures):
        monkeypatch.setattr(kind, "__module__", FAKE)
    monkeypatch.setitem(sys.modules, FAKE, module)
    monkeypatch.setattr("unfold.cli.runtime.set_threads", lambda *a: 1)
    monkeypatch.setattr("unfold.cli.runtime.keep_freed_memory", lambda: False)
    return log
