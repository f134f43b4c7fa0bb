"""A mixture: each image is measured as its family alone would measure it."""

import pytest
import torch

from tests.operator_properties import gap
from tests.physics.instances import physics_of
from unfold.errors import ConfigError
from unfold.physics.batch import Grouped
from unfold.physics.blur.blur import Blur
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.denoising import Denoising
from unfold.physics.inpainting import Inpainting
from unfold.physics.mixture import Curriculum, Mixture, PerFamilyNoise
from unfold.physics.noise.base import Gaussian, NoNoise
from unfold.physics.phase.retrieval import PhaseRetrieval
from unfold.random import Draws

QUIET = NoNoise()
FAMILIES = {
    "blur": Blur(Gaussian(0.1), GaussianKernel(3, (0.5, 2.0))),
    "holes": Inpainting(QUIET, 0.5),
    "noise": Denoising(Gaussian(0.3)),
}
MIXTURE = Mixture(PerFamilyNoise(), FAMILIES, {"blur": 1.0, "holes": 2.0, "noise": 1.0})
DRAWS = Draws(seed=0, images=range(12), dtype=torch.float64)
X = DRAWS.uniform("images", (1, 8, 8))


def families(draws: Draws) -> list[str]:
    groups = MIXTURE._groups(draws.within("operator"))
    found = {i: name for name, places in groups.items() for i in places}
    return [found[i] for i in range(len(draws))]


def test_each_image_has_the_operator_and_the_noise_of_its_family():
    y, operator = MIXTURE.measure(X, DRAWS)
    assert isinstance(operator, Grouped) and operator.batch == 12
    names = families(DRAWS)
    assert set(names) == set(FAMILIES)
    for i, name in enumerate(names):
        own = DRAWS.take([i])
        alone = FAMILIES[name].sample(own.within("operator").within(name), (1, 8, 8))
        clean = alone.A(X[i : i + 1])
        assert gap(operator.A(X)[i : i + 1], clean) < 1e-13
        noise = FAMILIES[name].noise.apply(clean, own.within("noise").within(name))
        assert gap(y[i : i + 1], noise) < 1e-13
        method, image = operator.linear_baseline(y)
        assert method == "pseudo_inverse" and gap(image[i], alone.pseudo_inverse(noise)[0]) < 1e-12


def test_the_family_of_an_image_does_not_depend_on_its_batch():
    y, _ = MIXTURE.measure(X, DRAWS)
    for places in ([7, 2, 9], [5], [11, 10, 9, 8]):
        some, operator = MIXTURE.measure(X[places], DRAWS.take(places))
        assert gap(some, y[places]) < 1e-12
        assert operator.batch == len(places)
    other = Draws(seed=0, images=range(12), epoch=1)
    assert families(other) != families(DRAWS)


def test_one_image_is_a_batch_of_any_size():
    _, one = MIXTURE.measure(X[:1], DRAWS.take([0]))
    assert gap(one.A(X), torch.cat([one.A(x[None]) for x in X])) < 1e-14
    for i in range(2):
        assert gap(one.take(torch.tensor([i]), 2).A(X[:1]), one.A(X[:1])) < 1e-14


def test_families_are_sampled_by_their_weights():
    names = families(Draws(seed=1, images=range(4000)))
    share = names.count("holes") / 4000
    assert abs(share - 0.5) < 5 * 0.5 / 4000**0.5
    assert abs(names.count("blur") / 4000 - 0.25) < 5 * 0.43 / 4000**0.5


CURRICULUM = Curriculum(
    PerFamilyNoise(),
    FAMILIES,
    {"blur": 1.0, "holes": 0.0, "noise": 3.0},
    later={"blur": 0.0, "holes": 2.0, "noise": 0.0},
    epochs=4,
)


@pytest.mark.parametrize(
    ("split", "epoch", "want"),
    [
        ("train", 0, (0.25, 0.0, 0.75)),
        ("train", 1, (0.1875, 0.25, 0.5625)),
        ("train", 3, (0.0625, 0.75, 0.1875)),
        ("train", 9, (0.0, 1.0, 0.0)),
        ("validation", 0, (0.0, 1.0, 0.0)),
        ("test", 0, (0.0, 1.0, 0.0)),
    ],
)
def test_the_weights_of_a_curriculum_move_with_the_epoch(split: str, epoch: int, want: tuple):
    draws = Draws(seed=1, images=range(2000), split=split, epoch=epoch)
    groups = CURRICULUM._groups(draws.within("operator"))
    for name, chance in zip(FAMILIES, want, strict=True):
        error = 5 * (chance * (1 - chance) / 2000) ** 0.5
        assert abs(len(groups.get(name, [])) / 2000 - chance) <= error


def test_a_curriculum_depends_on_image_epoch_and_seed():
    later = Draws(seed=0, images=range(12), dtype=torch.float64, epoch=2)
    y, operator = CURRICULUM.measure(X, later)
    some, _ = CURRICULUM.measure(X[[7, 2]], later.take([7, 2]))
    assert isinstance(operator, Grouped) and gap(some, y[[7, 2]]) < 1e-12


def test_one_noise_for_all():
    mixture = MIXTURE.with_noise(QUIET)
    y, operator = mixture.measure(X, DRAWS)
    assert torch.equal(y, operator.A(X))


def test_a_single_fixed_family_is_that_family():
    alone = Mixture(PerFamilyNoise(), {"noise": Denoising(QUIET)})
    assert alone.is_deterministic and torch.equal(alone(X), X)
    assert torch.equal(alone.operator_for(X).A(X), X)


def test_the_file_mixes_three_families_and_takes_more():
    mixture = physics_of("mixture", "+physics@physics.families.denoising=denoising")
    assert set(mixture.families) == {"motion_blur", "gaussian_blur", "inpainting", "denoising"}
    assert isinstance(mixture.noise, PerFamilyNoise)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: Mixture(PerFamilyNoise(), {}),
            ConfigError,
            r"families = {}: at least one physics",
        ),
        (
            lambda: Mixture(PerFamilyNoise(), FAMILIES, {"blur": 1.0}),
            ConfigError,
            r"weights is given for blur; the families are blur, holes, noise",
        ),
        (
            lambda: Curriculum(PerFamilyNoise(), FAMILIES, later={"blur": 1.0}, epochs=2),
            ConfigError,
            r"Curriculum.later is given for blur; the families are blur, holes, noise",
        ),
        (
            lambda: Curriculum(
                PerFamilyNoise(), {"a": Denoising()}, {"a": -1.0}, later={"a": 1.0}, epochs=2
            ),
            ConfigError,
            r"Curriculum.weights = {'a': -1.0}: must be zero or positive, and not all 0",
        ),
        (
            lambda: Curriculum(PerFamilyNoise(), {"a": Denoising()}, later={"a": 1.0}, epochs=0),
            ConfigError,
            r"Curriculum.epochs = 0: must be a whole number of at least 1",
        ),
        (
            lambda: Mixture(PerFamilyNoise(), {"a": Denoising()}, {"a": 0.0}),
            ConfigError,
            r"Mixture.weights.a = 0.0: must be positive",
        ),
        (
            lambda: Mixture(PerFamilyNoise(), {"a": PhaseRetrieval(QUIET)}),
            ConfigError,
            r"Mixture.families.a: PhaseRetrieval observes less than Ax",
        ),
        (
            lambda: PerFamilyNoise().apply(X, DRAWS),
            ConfigError,
            r"PerFamilyNoise is for a mixture",
        ),
        (
            lambda: PerFamilyNoise().with_level(0.1),
            ConfigError,
            r"PerFamilyNoise has no level to set to 0.1",
        ),
    ],
)
def test_bad_mixtures_say_what_is_wrong(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_level_of_each_image_is_that_of_its_family(split):
    sigmas = {"faint": 0.01, "strong": 0.1, "holes": 0.03}
    families = {
        "faint": Denoising(Gaussian(sigmas["faint"])),
        "strong": Blur(Gaussian(sigmas["strong"]), GaussianKernel(3, 1.0)),
        "holes": Inpainting(Gaussian(sigmas["holes"]), 0.5),
    }
    mixture = Mixture(PerFamilyNoise(), families)
    draws = Draws(seed=3, images=range(20, 32), split=split, epoch=2, dtype=torch.float64)
    y, A = mixture.measure(X, draws)
    groups = mixture._groups(draws.within("operator"))
    of_image = {i: sigmas[name] for name, places in groups.items() for i in places}
    want = torch.tensor([of_image[i] for i in range(12)], dtype=torch.float64)
    variance = torch.stack(
        [
            (one - clean)[clean != 0].var()
            for one, clean in zip(y, A.A(X), strict=True)  # what a hole measures is zero
        ]
    )
    assert (variance.sqrt() / want - 1).abs().max() < 0.5  # the reference is y itself
    torch.testing.assert_close(mixture.noise_level(y, A, draws), want)
    torch.testing.assert_close(mixture.known_level(y, A), want)
    for places in ([11, 0, 5], [4], groups["strong"]):
        some = A.take(torch.tensor(places), 12)
        torch.testing.assert_close(mixture.known_level(y[places], some), want[places])
        mine = mixture.noise_level(y[places], some, draws.take(places))
        torch.testing.assert_close(mine, want[places])
