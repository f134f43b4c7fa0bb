"""Images drawn by a formula, of arrays, and mixtures of data sets."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from skimage.data import shepp_logan_phantom
from skimage.transform import resize

import unfold
from unfold.cli.check import check_data
from unfold.data.image_data import EmbeddedData
from unfold.data.indexed.dead_leaves import DeadLeaves
from unfold.data.indexed.ellipses import SHEPP_LOGAN, Ellipses, phantom
from unfold.data.indexed.mixture import MixedData
from unfold.data.indexed.sparse_codes import SparseCodes
from unfold.data.own import ArrayExamples, OwnData
from unfold.errors import ConfigError, DataError
from unfold.random import Draws

SMALL = {"batch_size": 4, "repeats": 12}
DRAWN = {
    "sparse_codes": SparseCodes(seed=1, size=30, validation_images=3, test_images=3, **SMALL),
    "ellipses": Ellipses(seed=1, size=24, **SMALL),
    "dead_leaves": DeadLeaves(
        seed=1, size=16, full_size=24, channels=3, validation_images=2, test_images=2, **SMALL
    ),
}
DRAWN["mixture"] = MixedData(
    seed=1,
    sets={
        "leaves": replace(DRAWN["dead_leaves"], channels=1),
        "photographs": EmbeddedData(seed=1, crop=16),
    },
    weights={"leaves": 3.0, "photographs": 1.0},
    **SMALL,
)
every = pytest.mark.parametrize("name", DRAWN)


def trained_on(data, epoch=0, **share):
    loader = data.train_loader(**share)
    loader.sampler.set_epoch(epoch)
    found = {int(i): x for b in loader for i, x in zip(b.index, b.examples.images, strict=True)}
    loader.close()
    return found


@every
def test_an_image_depends_on_seed_epoch_and_index_alone(name):
    data = DRAWN[name]
    data.check()
    first = trained_on(data)
    assert sorted(first) == list(range(12))
    others = [
        trained_on(replace(data, batch_size=2)),
        trained_on(data, rank=0, processes=2) | trained_on(data, rank=1, processes=2),
        trained_on(data, done=lambda: 1),  # a resume after one batch
    ]
    if name == "sparse_codes":
        others.append(trained_on(replace(data, workers=1)))
    for other in others:
        assert len(other) in (12, 8)
        assert all(torch.equal(x, first[i]) for i, x in other.items())
    assert len({x.numpy().tobytes() for x in first.values()}) == 12
    for fresh in (trained_on(data, 1), trained_on(replace(data, seed=2))):
        assert not any(torch.equal(first[i], x) for i, x in fresh.items())


@every
def test_images_to_compare_on_are_those_of_every_seed(name, capsys):
    data = DRAWN[name]
    same, other = replace(data, seed=7), replace(data, batch_size=2)
    assert data.fingerprint() == same.fingerprint() == other.fingerprint()
    for split in ("validation", "test"):
        pairs = zip(data.examples(split), same.examples(split), strict=True)
        assert all(a[0] == b[0] and torch.equal(a[1].image, b[1].image) for a, b in pairs)
        batches = [b.images for b in data.evaluation_loader(split)]
        assert sum(map(len, batches)) == len(data.examples(split)) == len(data.shapes()[split])
    assert [len(x.images.shape) for x in data.typical()] == [4] * len(data.typical())
    check_data(data)
    assert "can be used" in capsys.readouterr().out


def test_codes_are_sparse_normal_numbers():
    data = SparseCodes(seed=0, size=500, density=0.1)
    x = np.stack([data.picture("train", 0, i).image.numpy() for i in range(400)]).ravel()
    own = x[x != 0]
    assert_allclose(len(own) / len(x), 0.1, atol=4 * (0.09 / len(x)) ** 0.5)
    assert_allclose([own.mean(), own.var()], [0, 1], atol=0.03)
    assert_allclose((own**4).mean(), 3, atol=0.15)


@pytest.mark.parametrize("transposed", [False, True])
def test_codes_of_a_file_are_tested_on_as_they_are_stored(tmp_path, transposed):
    codes = np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", codes.T if transposed else codes)
    data = replace(DRAWN["sparse_codes"], test_file=str(tmp_path / "x.npy"))
    found = torch.stack([e.image for _, e in data.examples("test")])
    assert found.shape == (5, 1, 1, 30)
    assert_allclose(found[:, 0, 0], codes.T, rtol=0)
    with pytest.raises(
        DataError, match=r"\(30, 5\) of float32; expected finite real numbers, \(N, 31\), \(31, N\)"
    ):
        np.save(tmp_path / "x.npy", codes)
        replace(data, size=31).check()
    with pytest.raises(
        DataError, match="test: for test, and the same file as validation, which is"
    ):
        replace(data, validation_file=data.test_file).check()


def test_the_phantom_is_that_of_shepp_and_logan():
    image = phantom(SHEPP_LOGAN, 200)
    assert_allclose([image.min(), image.max()], [0, 1], atol=1e-12)
    at = {(0.0, 0.0): 0.2, (0.0, 0.9): 1.0, (0.0, 0.35): 0.3, (0.22, 0.0): 0.0, (0.9, 0.9): 0.0}
    for (x, y), value in at.items():
        column, row = int((x + 1) * 100), int((1 - y) * 100)
        assert_allclose(image[row, column], value, atol=1e-12)
    # ∫ = Σ v π a b, of the whole plane
    v, a, b = SHEPP_LOGAN[:, :3].T
    assert_allclose(image.mean() * 4, np.pi * (v * a * b).sum(), rtol=2e-2)
    ((_, tested),) = Ellipses(seed=0).examples("test")
    assert_allclose(tested.image.mean(), phantom(SHEPP_LOGAN, 128).mean(), rtol=5e-3)
    theirs = resize(shepp_logan_phantom(), (128, 128), anti_aliasing=True)
    assert np.sqrt(np.mean((tested.image[0].numpy() - theirs) ** 2)) < 0.025


@pytest.mark.parametrize("phantom_of", ["ours", "scikit-image"])
def test_filtered_back_projection_of_the_phantom_has_the_published_figure(phantom_of):
    """30 views of 183 detectors, 5 % of noise, no window: 19.8 dB, calibrating the projector."""
    more = ["physics.angles=30", "physics.detectors=183", "physics/noise=relative"]
    physics = unfold.build("physics=tomography", "evaluation=none", *more).physics
    ((_, tested),) = Ellipses(seed=0).examples("test")
    x = tested.image.numpy()
    if phantom_of == "scikit-image":
        x = resize(shepp_logan_phantom(), (128, 128), anti_aliasing=True)[None]
    x = torch.from_numpy(np.float32(x)).expand(10, 1, 128, 128).contiguous()
    y, operator = physics.measure(x, Draws(0, range(10)))
    assert y.shape == (10, 1, 30, 183)
    error = (operator.filtered_back_projection(y) - x).square().mean((1, 2, 3))
    assert_allclose(float((-10 * error.log10()).mean()), 19.8, atol=0.1)


def test_ellipses_have_the_moments_of_their_distribution():
    data = Ellipses(seed=0, size=32, repeats=300)
    x = np.stack([data.picture("train", 0, i).image.numpy() for i in range(300)])
    assert abs(x.mean()) < 4 * x.mean((1, 2, 3)).std() / 300**0.5
    # In the middle E x² = 50 E v² P(hit), and E v² = E(U − ½)² E e² = 2·0.4²/12.
    hit = np.mean([one_hit(g) for g in np.random.default_rng(3).spawn(4000)])
    assert_allclose((x[..., 15:17, 15:17] ** 2).mean(), 50 * 0.32 / 12 * hit, rtol=0.35)


def one_hit(g):
    (a, b), (x, y), t = 0.2 * g.exponential(1, 2), g.uniform(-1, 1, 2), g.uniform(0, 2 * np.pi)
    u, v = np.cos(t) * x + np.sin(t) * y, np.cos(t) * y - np.sin(t) * x
    return (u / a) ** 2 + (v / b) ** 2 <= 1


def test_dead_leaves_have_the_spectrum_and_the_edges_of_photographs():
    data = DeadLeaves(seed=0, size=128)
    x = np.stack([data.picture("train", 0, i).image[0].numpy() for i in range(24)]).astype(float)
    assert x.min() >= 0 and x.max() <= 1 and 0.3 < x.mean() < 0.6
    window = np.hanning(128)[:, None] * np.hanning(128)
    power = (np.abs(np.fft.rfft2((x - x.mean((1, 2), keepdims=True)) * window)) ** 2).mean(0)
    omega = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128))
    band = (omega > 0.03) & (omega < 0.3)
    slope = np.polyfit(np.log(omega[band]), np.log(power[band]), 1)[0]
    assert -3.2 < slope < -1.4  # of photographs about −2
    step = np.diff(x, axis=2).ravel()
    assert (step**4).mean() / (step**2).mean() ** 2 > 8  # of a normal number 3
    colour = DeadLeaves(seed=0, channels=3).picture("train", 0, 0).image
    assert colour.shape == (3, 64, 64) and not torch.equal(colour[0], colour[1])


def test_a_mixture_takes_its_sets_by_their_weights():
    one = {"size": 8, "validation_images": 0, "test_images": 1}
    sets = {p: SparseCodes(seed=0, density=d, **one) for p, d in (("none", 1e-9), ("all", 1.0))}
    data = MixedData(seed=3, sets=sets, weights={"none": 1.0, "all": 3.0}, repeats=400)
    full = np.array([bool(x.any()) for x in trained_on(replace(data, batch_size=8)).values()])
    assert_allclose(full.mean(), 0.75, atol=4 * (0.1875 / 400) ** 0.5)
    assert [name for name, _ in data.examples("test")] == ["none#0", "all#0"]
    assert replace(data, weights=None).fingerprint() != data.fingerprint()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": {"leaves": 1.0}}, r"a positive number for each of sets = \['leaves', 'photo"),
        ({"weights": {"leaves": 1.0, "photographs": 0.0}}, "a positive number for each"),
        ({"channels": 3}, r"sets\.leaves: gives images of 1 channels; images of 3 channels"),
    ],
)
def test_a_mixture_that_cannot_be_meant_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        replace(DRAWN["mixture"], **changes)


def test_a_mixture_of_two_sizes_is_refused():
    sets = {**DRAWN["mixture"].sets, "photographs": EmbeddedData(seed=1, crop=24)}
    with pytest.raises(ConfigError, match=r"shapes .*\[1, 16, 16\].*\[1, 24, 24\]"):
        replace(DRAWN["mixture"], sets=sets).check()


@pytest.mark.parametrize("shape", [(6, 9), (6, 5, 7), (6, 1, 5, 7)])
def test_arrays_are_images_as_they_are_stored(tmp_path, shape):
    g, sets = np.random.default_rng(0), {}
    arrays = {s: 3 * g.standard_normal(shape) for s in ("train", "validation", "test")}
    for split, x in arrays.items():
        np.save(tmp_path / f"{split}.npy", x)
        sets[split] = ArrayExamples(str(tmp_path / f"{split}.npy"))
    data = OwnData(seed=0, batch_size=2, repeats=2, **sets)
    data.check()
    found = trained_on(data)
    want = {split: np.float32(x) for split, x in arrays.items()}
    assert len(found) == 12
    assert all(
        np.array_equal(x.squeeze(), want["train"][i % 6].squeeze()) for i, x in found.items()
    )
    last = data.examples("test")[5][1].image
    assert last.ndim == 3 and np.array_equal(last.squeeze(), want["test"][5].squeeze())
    for wrong in (np.ones(3), np.array([["a"]]), np.array([[np.nan, 1]])):
        np.save(tmp_path / "x.npy", wrong)
        with pytest.raises(DataError, match=r"an array|one array is expected"):
            len(ArrayExamples(str(tmp_path / "x.npy")))


def test_the_radii_of_leaves_are_two_that_differ():
    with pytest.raises(
        ConfigError, match=r"DeadLeaves\.radii = \[3.0, 2.0\]: must be the smallest"
    ):
        DeadLeaves(seed=0, radii=(3.0, 2.0))


def test_every_set_is_an_option_of_the_command():
    for name in DRAWN:
        assert unfold.build(f"data={name}", "evaluation=none").config["data"]["channels"] == 1
