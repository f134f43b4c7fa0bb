"""Trained weights are loaded into the denoisers of a prior, at any depth."""

import pytest
import torch

from unfold.config.build import build, verify
from unfold.config.compose import compose
from unfold.errors import ConfigError
from unfold.training.checkpoints.weights import embedded_weights, read_weights

NESTED = (
    "prior.terms=[{_target_: unfold.priors.denoiser_priors.PnP, weights: %s, denoiser: "
    "{_target_: unfold.denoisers.dncnn.DnCNN, channels: 1}}, "
    "{_target_: unfold.priors.box.Box}]"
)


@pytest.mark.parametrize(
    "words, path",
    [
        (["prior=red", "algo=gd"], "prior"),
        (["prior=score", "algo=gd"], "prior"),
        (["prior=tv_box", "algo=davis_yin", NESTED % "embedded"], "prior.terms.0"),
    ],
)
def test_a_denoiser_starts_from_the_weights_that_its_prior_names(words: list[str], path: str):
    components = build(verify(compose(words))[0])
    (sentence,) = components.origins
    assert sentence == f"{path}.denoiser starts from the one that comes with unfold"
    denoiser = components.reconstructor.get_submodule(f"{path}.denoiser")
    source, own = embedded_weights(denoiser), denoiser.state_dict()
    assert source is not None
    assert all(torch.equal(own[name], t) for name, t in read_weights(source).items())


def test_an_untrained_denoiser_in_a_term_is_refused_where_nothing_is_learned():
    words = ["prior=tv_box", "algo=davis_yin", "model=classical", NESTED % "null"]
    with pytest.raises(ConfigError, match=r"prior.terms.0.weights = null: model=classical learns"):
        verify(compose(words))
