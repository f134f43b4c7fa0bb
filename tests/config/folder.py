"""A folder of configuration files that stands for the packaged one, whatever others add."""

import shutil
from pathlib import Path

from unfold.config.build import verify
from unfold.config.check import Checked
from unfold.config.compose import compose
from unfold.config.options import configs_folder
from unfold.errors import ConfigError

FILES = {
    "algo/pgd.yaml": "_target_: unfold.algorithms.pgd.PGD\nstepsize: 1.0\n",
    "algo/admm.yaml": "_target_: unfold.algorithms.admm.ADMM\nstepsize: 1.0\nbeta: 1.0\n",
    "prior/dncnn.yaml": (
        "_target_: unfold.priors.denoiser_priors.PnP\nsigma: 0.05\n"
        "denoiser: {_target_: unfold.denoisers.dncnn.DnCNN, channels: 1, depth: 2, width: 4}\n"
    ),
    "physics/motion_blur.yaml": (
        "_target_: unfold.physics.denoising.Denoising\n"
        "noise: {_target_: unfold.physics.noise.base.Gaussian, sigma: 0.1}\n"
    ),
    "fidelity/l2.yaml": "_target_: unfold.fidelities.l2.L2\n",
    "model/unfolded.yaml": (
        "_target_: unfold.models.unfolded.Unfolded\niterations: 2\n"
        "backward: {_target_: unfold.models.unfolded.Full}\n"
    ),
    "model/deq.yaml": "_target_: unfold.models.deq.DEQ\ntol: 1e-3\nmax_iterations: 5\n",
    "data/embedded.yaml": "_target_: unfold.data.image_data.EmbeddedData\nseed: ${seed}\n",
    "evaluation/auto.yaml": "_target_: unfold.evaluation.base.NoEvaluation\n",
    "loss/mse.yaml": "_target_: unfold.training.losses.MSE\n",
    "metrics/image.yaml": "_target_: unfold.evaluation.metrics.ImageMetrics\n",
}


def make_folder(folder: Path) -> Path:
    """The real files, but for the groups that have small stand-ins here."""
    real = configs_folder()
    shutil.copy(real / "train.yaml", folder / "train.yaml")
    replaced = {name.partition("/")[0] for name in FILES}
    for group in real.iterdir():
        if group.is_dir() and group.name not in replaced:
            shutil.copytree(group, folder / group.name)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def checked(*arguments: str) -> list[Checked]:
    """The checked jobs of a command line."""
    return verify(compose(list(arguments)))


def refusal(*arguments: str) -> str:
    """The message with which a command line is refused."""
    try:
        checked(*arguments)
    except ConfigError as error:
        return str(error)
    return "accepted"
