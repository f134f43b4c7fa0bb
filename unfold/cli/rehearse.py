"""One step on one image before a run begins: what does not fit is found while nothing is made."""

from unfold.algorithms.algorithm import Guarantee
from unfold.cli.report import say
from unfold.config.build import Parts
from unfold.errors import ConfigError


def rehearse(parts: Parts, seed: int, *, strict: bool = False) -> None:
    """Measure a crop under every operator of the run, and take one step of the algorithm.

    Args:
        parts: of the run, with images that were checked.
        seed: of the draws.
        strict: whether values outside the proven range are an error.

    Raises:
        ShapeError: images, operators and networks do not fit each other.
        ConfigError: an operator cannot act on such images.
    """
    import torch

    from unfold.evaluation.settings import AcrossOperators
    from unfold.random import Draws

    draws = Draws(seed, (0,), "validation")
    crop = parts.data.crop
    image = parts.data.images("validation")[0][1][None, :, :crop, :crop]
    if isinstance(parts.evaluation, AcrossOperators):
        for law in parts.evaluation.operators.values():
            law.measure(image, draws)
    y, operator = parts.physics.measure(image, draws)
    with torch.no_grad():
        steps = parts.reconstructor.steps(y, operator)
        algorithm, problem = steps.at(0)
        steps.step(0, algorithm.init(problem))
        _promise(parts.reconstructor.guarantee(y, operator), strict=strict)


def _promise(guarantee: Guarantee, *, strict: bool) -> None:
    """Say where the values lie outside the range in which the algorithm is known to converge."""
    if guarantee.holds:
        return
    text = f"is known to converge for {guarantee.condition}, which the values given do not satisfy"
    if strict:
        raise ConfigError(f"algo {text}; strict=true asks for it. See unfold explain.")
    say(f"warning: algo {text}. See unfold explain.")
