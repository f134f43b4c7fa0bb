"""Pairs of measurements and images, in folders and in files of HDF5 and Zarr."""

import numpy as np
import pytest
import torch
from PIL import Image

from unfold.data.example import stack
from unfold.data.pairs import PairsData
from unfold.errors import ConfigError, DataError
from unfold.physics.blur.blur import PaddedBlur
from unfold.physics.denoising import Denoising
from unfold.physics.noise.base import Gaussian, NoNoise
from unfold.physics.noise.measured import MeasuredNoise
from unfold.random import Draws

RNG = np.random.default_rng(0)
X = RNG.random((3, 32, 40)).astype(np.float32)
KERNELS = RNG.random((3, 5, 5)).astype(np.float32)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def blurred(x, kernel):
    """SciPy's convolution of the image, mirrored at its border."""
    from scipy.ndimage import convolve

    return convolve(x.astype(float), kernel / kernel.sum(), mode="mirror").astype(np.float32)


def folder(root, **parts):
    """A folder of .npy files for each part."""
    for name, arrays in parts.items():
        (root / name).mkdir(parents=True)
        for i, array in enumerate(arrays):
            np.save(root / name / f"{i}.npy", array)
    return root


def examples(root, **options):
    data = PairsData(seed=0, test_root=str(root), **options)
    return [example for _, example in data.examples("test")]


def y_of(i):
    return blurred(X[i], KERNELS[i])


def test_kernels_of_the_data_measure_as_they_did(tmp_path):
    root = folder(tmp_path / "own", measurement=map(y_of, range(3)), image=X, kernel=KERNELS)
    batch = stack(examples(root))
    assert torch.equal(batch.images, torch.from_numpy(X)[:, None])
    physics = PaddedBlur(MeasuredNoise(None), "data", boundary="reflect")
    y, operator = physics.measure(batch, Draws(0, range(3)))
    assert torch.equal(y, batch.measurement)
    np.testing.assert_allclose(operator.A(batch.images).numpy(), y.numpy(), atol=1e-5)


def test_a_simulated_pair_is_the_measured_one(tmp_path):
    """The numbers of a run on pairs are those of the run that simulates them."""
    x = torch.from_numpy(X)[:1, None]
    np.save(tmp_path / "kernel.npy", KERNELS[0])
    own = PaddedBlur(Gaussian(0.01), str(tmp_path / "kernel.npy"))
    y, operator = own.measure(x, Draws(0, [0]))
    root = folder(tmp_path / "own", measurement=y[0], image=X[:1], kernel=KERNELS[:1])
    physics = PaddedBlur(MeasuredNoise(0.01), "data")
    batch = stack(examples(root))
    measured, same = physics.measure(batch, Draws(9, [4]))
    assert torch.equal(measured, y) and torch.equal(same.A(x), operator.A(x))
    level = physics.given(batch).noise_level(measured, same, Draws(9, [4]))
    assert torch.equal(level, own.noise_level(y, operator, Draws(0, [0])))


@pytest.mark.parametrize("name", ["pairs.h5", "pairs.zarr", "pairs.zip"])
def test_one_file_holds_one_example_after_another(tmp_path, name):
    """Written by the format's own library; of a folder of files, or named itself."""
    root = tmp_path / "set"
    root.mkdir()
    arrays = {"measurement": X / 2, "image": X, "kernel": KERNELS}
    if name == "pairs.h5":
        with pytest.importorskip("h5py").File(root / name, "w") as file:
            for key, array in arrays.items():
                file[key] = array
    else:
        zarr = pytest.importorskip("zarr")
        where = str(root / name)
        store = zarr.storage.ZipStore(where, mode="w") if name.endswith("zip") else where
        group = zarr.open_group(store, mode="w")
        for key, array in arrays.items():
            group[key] = array
        if name.endswith("zip"):
            store.close()
    for place in (root, root / name):
        found = examples(place, normalize=0.5)
        assert len(found) == 3
        for one, x, kernel in zip(found, X, KERNELS, strict=True):
            np.testing.assert_allclose(one.image[0].numpy(), 2 * x)
            np.testing.assert_allclose(one.measurement[0].numpy(), x)
            np.testing.assert_allclose(one.parameters["kernel"].numpy(), kernel)


def test_a_store_of_zarr_that_changed_is_read_again(tmp_path):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group["measurement"] = X
    one = PairsData(seed=0, test_root=str(tmp_path))
    group["measurement"][1, 2, 3] = 0.5
    other = PairsData(seed=0, test_root=str(tmp_path))
    before = one.fingerprint() if one.items("test") else ""
    assert other.fingerprint() == before  # nothing was read before the change
    group["measurement"][1, 2, 3] = 0.25
    assert PairsData(seed=0, test_root=str(tmp_path)).fingerprint() != before
    del group["measurement"]
    with pytest.raises(DataError, match=r"a\.zarr: no array 'measurement'\. It has none"):
        PairsData(seed=0, test_root=str(tmp_path)).items("test")


def test_arrays_of_one_file_count_the_same_examples(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "pairs.h5", "w") as file:
        file["measurement"], file["image"], file["kernel"] = X / 2, X, KERNELS
    found = examples(tmp_path, normalize=0.5)
    assert len(found) == 3
    np.testing.assert_allclose(found[2].image[0].numpy(), 2 * X[2])
    np.testing.assert_allclose(found[2].measurement[0].numpy(), X[2])
    np.testing.assert_allclose(found[2].parameters["kernel"].numpy(), KERNELS[2])
    with h5py.File(tmp_path / "pairs.h5", "a") as file:
        del file["kernel"]
        file["kernel"] = KERNELS[:2]
    with pytest.raises(DataError, match=r"pairs.h5: data sets of different lengths, .*'kernel': 2"):
        examples(tmp_path)


def test_pictures_and_arrays_of_whole_numbers_are_intensities(tmp_path):
    root = folder(tmp_path / "own", measurement=[(255 * X[0]).astype(np.uint8)])
    (root / "image").mkdir()
    Image.fromarray((255 * X[0]).astype(np.uint8)).save(root / "image" / "0.png")
    (found,) = examples(root)
    assert torch.equal(found.image, found.measurement) and float(found.image.max()) <= 1


def test_without_images_there_is_no_truth(tmp_path):
    root = folder(tmp_path / "own", measurement=X)
    found = stack(examples(root))
    y, _ = Denoising(MeasuredNoise()).measure(found, Draws(0, range(3)))
    assert found.images is None and torch.equal(y[:, 0], torch.from_numpy(X))


@pytest.mark.parametrize("fault", ["nan", "lonely", "twice", "empty", "channels"])
def test_what_does_not_belong_together_is_named(tmp_path, fault):
    root = folder(tmp_path / "own", measurement=X.copy(), image=X)
    words = {
        "nan": r"1.npy: 2 of 1280 values are NaN or infinite",
        "lonely": r"1.npy: no file of this name in .*image",
        "twice": r"1.npy: 2 files of this name in .*image",
        "empty": r"no folder 'measurement' in it, and no .h5 or .zarr file; it has image",
        "channels": r"an image of 3 channels, and channels = 1",
    }[fault]
    if fault == "nan":
        bad = X[1].copy()
        bad[3, :2] = np.nan, np.inf
        np.save(root / "measurement/1.npy", bad)
    if fault == "lonely":
        (root / "image/1.npy").unlink()
    if fault == "twice":
        np.savez(root / "image/1.npz", X[1])
    if fault == "empty":
        for path in (root / "measurement").iterdir():
            path.unlink()
        (root / "measurement").rmdir()
    if fault == "channels":
        np.save(root / "image/1.npy", np.stack([X[1]] * 3))
    with pytest.raises((DataError, ConfigError), match=words):
        examples(root)


def test_a_word_that_cannot_be_meant_is_refused():
    with pytest.raises(ConfigError, match=r"PaddedBlur.boundary = 'data': must be one of"):
        PaddedBlur(NoNoise(), "data", boundary="data")
