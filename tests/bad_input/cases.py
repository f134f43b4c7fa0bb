"""64 bad inputs, as a user types them: what each is, and the message it must get.

Numbers are those of the list of bad inputs that the project holds itself to. A command is typed in
a folder with the files that `make_files` writes; `{}` in a word is that folder.
"""
# ruff: noqa: E501 (a table reads best with one case per line)

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from unfold.errors import CheckpointError, ConfigError, DataError
from unfold.training.checkpoints.weights import save_weights

CONFIG, DATA, CHECKPOINT = (e.exit_code for e in (ConfigError, DataError, CheckpointError))


class Case(NamedTuple):
    """A command line that must be refused.

    number: of the row.
    arguments: after `train`, or after `unfold` where the first is a command.
    says: parts of the message: key, value, what is allowed, nearest.
    code: of the exit.
    """

    number: int
    arguments: str
    says: tuple[str, ...]
    code: int = CONFIG


def make_files(folder: Path) -> None:
    """The images, kernels, masks, options and checkpoints that the cases name."""
    draw = np.random.default_rng(0)

    def images(name: str, shapes: list[tuple[int, ...]], kind: str = "L") -> Path:
        (folder / name).mkdir()
        for i, shape in enumerate(shapes):
            pixels = draw.integers(0, 256, shape, "u1")
            Image.fromarray(pixels, kind).save(folder / name / f"{i}.png")
        return folder / name

    images("good", [(64, 64)] * 8)
    images("colour", [(64, 64, 3)] * 8, "RGB")
    images("tiny", [(20, 20)] * 8)
    images("dots", [(1, 1)] * 8)
    (folder / "empty").mkdir()
    half = images("half", [(64, 64)] * 8) / "3.png"
    half.write_bytes(half.read_bytes()[:200])
    (images("words", [(64, 64)] * 8) / "8.png").write_text("not an image")
    (images("nothing", [(64, 64)] * 8) / "8.png").write_bytes(b"")
    alpha = Image.fromarray(draw.integers(0, 255, (64, 64, 4), "u1"), "RGBA")
    alpha.save(images("alpha", [(64, 64)] * 8) / "8.png")
    pages = [Image.fromarray(draw.integers(0, 256, (64, 64), "u1")) for _ in range(2)]
    pages[0].save(images("pages", [(64, 64)] * 8) / "8.tif", save_all=True, append_images=pages[1:])
    floats = draw.random((64, 64), "f4")
    for name, value in (("nan", np.nan), ("bright", 255.0)):
        floats[0, 0] = value
        Image.fromarray(floats).save(images(name, [(64, 64)] * 8) / "8.tif")
    palette = Image.new("P", (64, 64), 1)
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.putpixel((1, 1), 0)
    palette.save(images("palette", [(64, 64)] * 8) / "8.png", transparency=0)

    np.save(folder / "even.npy", np.ones((4, 4)) / 16)
    np.save(folder / "kernel_nan.npy", np.full((5, 5), np.nan))
    (folder / "optimizer").mkdir()
    (folder / "optimizer/mine.yaml").write_text(
        "_target_: unfold.training.optim.Adam\nlearing_rate: 1e-3\n"
    )
    (folder / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    torch.save({"weights": torch.ones(3)}, folder / "foreign.ckpt")
    whole = save_weights(torch.nn.Linear(2, 2), folder).read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[:-3])
    (folder / "flipped.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 64]))


CASES = (
    Case(1, "trainer.max_epoch=3", ("trainer.max_epoch = 3", "did you mean 'max_epochs'")),
    Case(2, "--config-dir={} optimizer=mine", ("optimizer.learing_rate = 0.001: unknown key", "mine.yaml:2")),
    Case(3, "trainer.max_epochs=abc", ("trainer.max_epochs = abc", "a whole number")),
    Case(4, "trainer.max_epochs=2.5", ("trainer.max_epochs = 2.5", "a whole number")),
    Case(4, "trainer.max_steps=null", ("trainer.max_steps = null", "a whole number")),
    Case(5, "optimizer.lr=-1", ("optimizer.lr = -1.0", "must be positive and finite")),
    Case(5, "optimizer.lr=nan", ("optimizer.lr = nan", "must be positive and finite")),
    Case(5, "optimizer.lr=inf", ("optimizer.lr = inf", "must be positive and finite")),
    Case(5, "optimizer.lr=0", ("optimizer.lr = 0.0", "must be positive and finite")),
    Case(6, "optimizer.lr=0o17", ("optimizer.lr = 0o17", "a number is expected")),
    Case(6, "optimizer.lr='nan'", ("optimizer.lr = nan", "a number is expected")),
    Case(6, "trainer.max_steps=12:30", ("trainer.max_steps = 12:30", "a whole number")),
    Case(7, "algo=pdg", ("algo = pdg: no such option", "did you mean 'pdhg'")),
    Case(8, "algo.beta=1", ("algo.beta = 1: unknown key", "'beta' belongs to algo=")),
    Case(9, "+algo.stepsise=2", ("algo.stepsise = 2: unknown key", "did you mean 'stepsize'")),
    Case(10, "seed=1 seed=2", ("seed: given 2 times (1, 2)",)),
    Case(11, "algo.stepsize=", ("algo.stepsize = '': no value given",)),
    Case(12, "algo.stepsize=[1,2", ("algo.stepsize=[1,2: cannot be read as key=value", "the [ at column 15 is not closed")),
    Case(13, "seed=1,2", ("seed = 1,2: several values", "-m")),
    Case(14, "-m algo.gama=1,2", ("algo.gama = 1: unknown key", "algo.gama = 2: unknown key", "Allowed: lambda_reg, stepsize")),
    Case(15, "-m optimizer.lr=0.1,-1", ("optimizer.lr = -1.0", "must be positive and finite")),
    Case(16, "-m seed=range(0,0)", ("seed=range(0,0): an empty sweep",)),
    Case(18, "model.iterations=???", ("model.iterations = ???: must be given",)),
    Case(19, "name=${{nothing.here}}", ("name = ${nothing.here}: cannot be resolved", "no key nothing.here")),
    Case(19, "name=${{oc.env:UNFOLD_NOT_SET}}", ("the environment variable UNFOLD_NOT_SET is not set", "${oc.env:UNFOLD_NOT_SET,VALUE}")),
    Case(20, "algo._target_=unfold.algorithms.pgd.PGDD", ("algo._target_ = unfold.algorithms.pgd.PGDD", "no class 'PGDD'", "did you mean 'PGD'")),
    Case(21, "algo._target_=os.system", ("algo._target_ = os.system", "is not a component of unfold")),
    Case(22, "model=deq trainable.untied=[algo.stepsize]", ("trainable.untied = ['algo.stepsize']", "one and the same step", "set trainable.untied=[]")),
    Case(24, "model=deq algo=fista", ("algo.momentum = ChambolleDossal(a=3.0)", "one and the same step", "needs a number")),
    Case(25, "model.iterations=0", ("model.iterations = 0", "at least 1")),
    Case(25, "model.iterations=-1", ("model.iterations = -1", "at least 1")),
    Case(25, "model.iterations=2.5", ("model.iterations = 2.5", "a whole number")),
    Case(26, "algo.stepsize=-1", ("algo.stepsize = -1: must be positive",)),
    Case(27, "algo.stepsize=3.0 prior=tv model=classical strict=true", ("algo.stepsize = 3", "0 < stepsize < 2/L_f", "strict=true")),
    Case(28, "algo=admm prior=tv model=classical algo.lambda_reg=-1", ("algo.lambda_reg = -1: must be positive",)),
    Case(28, "algo=admm prior=tv model=classical algo.lambda_reg=nan", ("algo.lambda_reg = nan: must be positive",)),
    Case(29, "physics.noise.sigma=-0.1", ("physics.noise.sigma = -0.1: must be zero or positive",)),
    Case(29, "physics.noise.sigma=nan", ("physics.noise.sigma = nan: must be zero or positive",)),
    Case(31, "prior.denoiser.channels=3", ("DnCNN expects 3 channels, got (1, 1, 48, 48)", "set prior.denoiser.channels=1")),
    Case(32, "trainable.learn=[algo.gamma]", ("trainable.learn = ['algo.gamma']", "'algo.gamma' matches nothing", "Available: algo.lambda_reg, algo.stepsize")),
    Case(33, "objective=validation/pnsr", ("objective = validation/pnsr", "did you mean 'validation/psnr'")),
    Case(34, "trainer.precision=16", ("trainer.precision = 16", "one of 32, bf16, 64")),
    Case(35, "physics.kernel.size=257", ("257 x 257", "48 x 48", "physics.kernel.size"), DATA),
    Case(36, "physics=gaussian_blur physics.kernel.size=4", ("physics.kernel.size", "4 pixels", "odd size")),
    Case(36, "physics.kernel={}/even.npy", ("even.npy: a kernel of 4 x 4 pixels has no centre", "add a row or a column"), DATA),
    Case(36, "physics.kernel={}/kernel_nan.npy", ("kernel_nan.npy: 25 of its values are not finite",), DATA),
    Case(38, "physics=inpainting physics.keep=1.5", ("physics.keep = 1.5: must be in (0, 1]",)),
    Case(38, "physics=inpainting physics.keep=-0.2", ("physics.keep = -0.2: must be in (0, 1]",)),
    Case(39, "physics=inpainting physics.keep=0", ("physics.keep = 0: must be in (0, 1]",)),
    Case(40, "data=folder data.root={}/colour data.channels=1 physics=colorization", ("images of 1 channels and 3 weights", "set data.channels=3"), DATA),
    Case(41, "physics=tomography physics.angles=0", ("physics.angles = 0: must be a whole number of at least 1",)),
    Case(43, "physics=super_resolution physics.factor=0", ("physics.factor = 0: must be a whole number of at least 1",)),
    Case(43, "physics=super_resolution physics.factor=2.5", ("physics.factor = 2.5", "whole number")),
    Case(43, "physics=super_resolution physics.factor=3", ("not divisible by the factor 3", "set data.multiple_of=3"), DATA),
    Case(44, "physics=compressed_sensing physics.ratio=0", ("physics.ratio = 0.0: must be in (0, 1]",)),
    Case(44, "physics=compressed_sensing physics.ratio=1.5", ("physics.ratio = 1.5: must be in (0, 1]",)),
    Case(45, "physics/noise=poisson physics.noise.gain=0", ("physics.noise.gain = 0: must be positive",)),
    Case(48, "algo=admm prior=wavelet model=classical prior.levels=99", ("prior.levels = 99", "from 1 to 12")),
    Case(48, "algo=admm prior=wavelet model=classical prior.family=db99", ("prior.family = db99: one of haar, db2 is expected",)),
    Case(48, "algo=admm physics=saturated_blur", ("algo=admm needs a linear operator", "Saturated, from images of (1, 48, 48) to measurements of (1, 48, 48)", "only the gradient of f", "Available: algo=condat_vu, algo=davis_yin, algo=fista, algo=fista_constant, algo=gd")),
    Case(48, "physics=saturated_blur start=spectral", ("Saturated.A_adjoint: Saturated, from images of (1, 48, 48)", "is not linear", "start=regularised")),
    Case(48, "physics=saturated_blur strict=true", ("the operator is not linear, so that no range is proven", "strict=true")),
    Case(48, "physics=saturated_blur physics.gain=0", ("physics.gain = 0.0: must be positive",)),
    Case(49, "data=folder data.root={}/nan", ("8.tif", "1 of 4096 values are NaN"), DATA),
    Case(50, "data=folder data.root={}/empty", ("empty: no image", "*.png"), DATA),
    Case(50, "data=folder data.root={}/missing", ("/missing: missing; expected a folder of images",), DATA),
    Case(51, "data=folder data.root={}/half", ("3.png", "corrupt or truncated"), DATA),
    Case(52, "data=folder data.root={}/words", ("8.png", "not an image"), DATA),
    Case(52, "data=folder data.root={}/nothing", ("8.png", "0 bytes"), DATA),
    Case(54, "data=folder data.root={}/bright", ("8.tif: values from ", "to 255, expected [0, 1]"), DATA),
    Case(55, "data=folder data.root={}/alpha", ("8.png", "pixels are transparent"), DATA),
    Case(56, "data=folder data.root={}/palette", ("8.png", "pixels are transparent"), DATA),
    Case(59, "data=folder data.root={}/pages", ("8.tif: at least 2 pages; expected one",), DATA),
    Case(60, "data=folder data.root={}/tiny", ("0.png: 20x20 pixels, smaller than the 64x64 that data.crop needs",), DATA),
    Case(60, "data=folder data.root={}/dots", ("0.png: 1x1 pixels, smaller than the 64x64 that data.crop needs",), DATA),
    Case(64, "init_from={}/good", ("init_from = ", "good is no run directory"), CHECKPOINT),
    Case(64, "init_from=https://example.org/run", ("init_from = https://example.org/run: an address", "download the file"), CHECKPOINT),
    Case(64, "prior.weights={}/broken.safetensors", ("broken.safetensors: not a readable safetensors file",), CHECKPOINT),
    Case(64, "prior.weights={}/cut.safetensors", ("cut.safetensors: not a readable safetensors file",), CHECKPOINT),
    Case(64, "prior.weights={}/flipped.safetensors", ("flipped.safetensors: damaged since it was written (its checksum differs)",), CHECKPOINT),
    Case(64, "prior.weights={}/foreign.ckpt", ("foreign.ckpt: these weights belong to another model", "Missing: noise.0.bias"), CHECKPOINT),
    Case(64, "prior.weights={}/gone.safetensors", ("prior.weights = ", "gone.safetensors: no weights there"), CHECKPOINT),
)  # fmt: skip
