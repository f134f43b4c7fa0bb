"""Total variation over a batch whose images belong to different families."""

import torch

from unfold.data.example import Example
from unfold.evaluation.baselines import Baselines, TunedTV, total_variation
from unfold.models.classical import Classical
from unfold.physics.blur.blur import Blur
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.denoising import Denoising
from unfold.physics.inpainting import Inpainting
from unfold.physics.mixture import Mixture
from unfold.physics.noise.base import Gaussian
from unfold.random import Draws

NOISE = Gaussian(0.05)
PHYSICS = Mixture(
    NOISE,
    {
        "blur": Blur(NOISE, GaussianKernel(3, (0.5, 1.0))),
        "inpainting": Inpainting(NOISE, 0.5),
        "denoising": Denoising(NOISE),
    },
)
DRAWS = Draws(0, range(6), "test")
IMAGES = DRAWS.uniform("images", (1, 16, 16))


def test_images_of_a_batch_are_solved_independently():
    """Images that are done leave the batch, each with its own operator."""
    y, operator = PHYSICS.measure(IMAGES, DRAWS)
    assert len(set(operator.family)) == 3
    model, weight = Classical(1e-4, 2000), torch.tensor([0.02])
    together = total_variation(y, operator, weight, model)
    assert together.converged.all()
    assert len(set(together.iterations.tolist())) > 1
    for i in range(0, 6, 2):
        one = operator.take(torch.tensor([i]), 6)
        alone = total_variation(y[i : i + 1], one, weight, model)
        assert alone.iterations == together.iterations[i]
        assert (alone.image - together.image[i]).abs().max() < 1e-6


def test_its_weight_can_be_tuned(tmp_path):
    named = [(str(i), Example(image)) for i, image in enumerate(IMAGES)]
    settings = TunedTV(count=2, images=3, crop=16, tol=1e-2, search_iterations=100)
    found = Baselines(settings, named, named, "data", 0, tmp_path).tuned("tv", PHYSICS)
    assert all(found.converged)
    assert found.weight in settings.weights
