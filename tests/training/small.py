"""A training that takes a second."""

from unfold.algorithms.pgd import PGD
from unfold.data.module import EmbeddedData
from unfold.denoisers.dncnn import DnCNN
from unfold.evaluation.metrics import ImageMetrics
from unfold.fidelities.l2 import L2
from unfold.models.unfolded import Unfolded
from unfold.physics.inpainting import Inpainting
from unfold.physics.noise import Gaussian
from unfold.priors.pnp import PnP
from unfold.reconstructor import Reconstructor
from unfold.training.fit import fit
from unfold.training.losses import MSE
from unfold.training.module import Training
from unfold.training.optimizers import Adam, Constant
from unfold.training.settings import CSV, TrainerSettings


def small_data(workers=0):
    return EmbeddedData(seed=0, crop=16, batch_size=4, crops_per_image=2, workers=workers)


def small_training(physics=None, model=None):
    import torch

    torch.manual_seed(0)
    physics = physics or Inpainting(Gaussian(0.02))
    net = Reconstructor(PGD(), PnP(DnCNN(1, depth=2, width=4)), L2(), model or Unfolded(2))
    return Training(
        net, physics, MSE(), Adam(lr=1e-2), Constant(), ImageMetrics(), seed=0, log_every=1
    )


def small_settings(steps, progress=False):
    return TrainerSettings(max_steps=steps, accelerator="cpu", progress=progress, log_every=1)


def run(directory, *, steps=6, workers=0, training=None, resume_from=None):
    training = training or small_training()
    scores = fit(
        training,
        small_data(workers),
        small_settings(steps),
        CSV(),
        directory,
        objective="validation/psnr",
        resume_from=resume_from,
    )
    return training, scores
