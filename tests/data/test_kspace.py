"""Measured frequencies as examples: NumPy's transform is the reference, files by other writers."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from unfold.data.example import stack
from unfold.data.kspace import KspaceData
from unfold.data.readers.kspace import open_scan
from unfold.errors import DataError, ShapeError
from unfold.physics.mri.cartesian import MRI, MultiCoilMRI
from unfold.physics.mri.sampling import RandomColumns
from unfold.physics.noise.base import NoNoise
from unfold.random import Draws

DATA = os.environ.get("UNFOLD_DATA")
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def centred(x):
    """k = fftshift F ifftshift x, orthonormal: as fastMRI, ISMRMRD and BART define it."""
    moved = np.fft.ifftshift(x, (-2, -1))
    return np.fft.fftshift(np.fft.fft2(moved, norm="ortho"), (-2, -1)).astype(np.complex64)


def brain(*shape):
    """A smooth complex image with most of its energy at low frequencies."""
    height, width = shape[-2:]
    v, u = np.mgrid[:height, :width]
    blob = np.exp(-(((v - height / 2) / height * 4) ** 2) - ((u - width / 2) / width * 4) ** 2)
    return blob * np.exp(1j * u / width) * (1 + 0.1 * RNG.random(shape))


def coils(count, height, width):
    """Smooth maps with Σ |S|² = 1."""
    v, u = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    angles = 2 * np.pi * np.arange(count) / count
    maps = [np.exp(-((v - np.sin(a)) ** 2 + (u - np.cos(a)) ** 2) + 1j * a * u) for a in angles]
    return np.stack(maps) / np.sqrt((np.abs(maps) ** 2).sum(0))


def one(folder, **options):
    """The first test example of a folder, and its file."""
    data = KspaceData(seed=0, test_root=str(folder), **options)
    return data.examples("test")[0][1]


@pytest.mark.parametrize("sides", [(16, 24), (15, 21), (230, 180)])
def test_one_coil_gives_the_image_that_was_measured(tmp_path, sides):
    x = brain(*sides)
    np.save(tmp_path / "scan.npy", centred(x))
    found = one(tmp_path, normalize="none")
    np.testing.assert_allclose(found.image[0].numpy(), x, atol=1e-6)
    assert found.measurement.shape == (1, *sides) and not found.parameters
    np.testing.assert_allclose(
        found.measurement[0].numpy(), np.fft.fft2(x, norm="ortho"), atol=1e-5
    )


def test_several_coils_are_combined_by_the_maps_of_the_file(tmp_path):
    x, maps = brain(32, 24), coils(4, 32, 24)
    np.savez(tmp_path / "scan.npz", kspace=centred(maps * x), maps=maps)
    found = one(tmp_path, maps="maps", normalize=2.0)
    np.testing.assert_allclose(found.image[0].numpy(), x / 2, atol=1e-6)
    assert found.measurement.shape == (1, 4, 32, 24) and found.metadata["scale"] == 2.0


def test_a_drawn_mask_takes_measured_frequencies_and_adds_no_noise(tmp_path):
    x, maps = brain(32, 24), coils(4, 32, 24)
    np.savez(tmp_path / "scan.npz", kspace=centred(maps * x), maps=maps)
    batch = stack([one(tmp_path, maps="maps")] * 2)
    physics = MultiCoilMRI(NoNoise(), RandomColumns(4.0, 0.1))
    y, operator = physics.measure(batch, Draws(0, [3, 8]))
    mask = operator.mask[:, None]
    assert float(mask.mean()) == 0.25 and not torch.equal(mask[0], mask[1])
    assert torch.equal(y, mask * batch.measurement)
    np.testing.assert_allclose(operator.A(batch.images).numpy(), y.numpy(), atol=1e-5)
    again, _ = physics.measure(stack([one(tmp_path, maps="maps")]), Draws(0, [8]))
    assert torch.equal(again[0], y[1])


def test_what_was_not_acquired_is_never_drawn(tmp_path):
    k = centred(brain(16, 24))
    k[:, ::3] = 0
    np.save(tmp_path / "scan.npy", k)
    found = one(tmp_path)
    assert found.image is None and found.parameters["mask"].shape == (1, 1, 24)
    _, operator = MRI(NoNoise(), RandomColumns(2.0, 0.1)).measure(stack([found]), Draws(0, [0]))
    assert not bool((operator.mask * (1 - found.parameters["mask"])).any())
    whole, own = MRI(NoNoise(), "data").measure(stack([found]), Draws(0, [0]))
    assert torch.equal(whole, found.measurement[None])
    assert torch.equal(own.mask[0], found.parameters["mask"])


def test_partial_fourier_stays_partial(tmp_path):
    k = centred(brain(16, 24))
    k[:5] = 0
    np.save(tmp_path / "scan.npy", k)
    mask = one(tmp_path).parameters["mask"]
    assert mask.shape == (1, 16, 24) or mask.shape == (1, 16, 1)
    assert float(mask.mean()) == pytest.approx(11 / 16)


def test_an_oversampled_readout_is_cut_in_the_image(tmp_path):
    x = np.zeros((32, 24), complex)
    x[8:24] = brain(16, 24)
    np.save(tmp_path / "scan.npy", centred(x))
    found = one(tmp_path, readout=16, normalize="none")
    np.testing.assert_allclose(found.image[0].numpy(), x[8:24], atol=1e-6)


def test_noise_is_made_independent_and_of_variance_one(tmp_path):
    mixing = RNG.normal(size=(3, 3)) + 1j * RNG.normal(size=(3, 3))
    white = (RNG.normal(size=(3, 9000)) + 1j * RNG.normal(size=(3, 9000))) / np.sqrt(2)
    samples = mixing @ white
    x, maps = brain(32, 24), coils(3, 32, 24)
    np.savez(tmp_path / "scan.npz", kspace=centred(maps * x), noise=samples.astype(np.complex64))
    found = one(tmp_path, noise="noise", normalize="none").measurement[0].numpy()
    plain = one(tmp_path, normalize="none").measurement[0].numpy()
    whitening = np.linalg.lstsq(plain.reshape(3, -1).T, found.reshape(3, -1).T, rcond=None)[0].T
    covariance = np.cov(whitening @ samples)
    np.testing.assert_allclose(covariance, np.eye(3), atol=0.03)


def test_compressed_coils_keep_most_of_the_energy(tmp_path):
    x, maps = brain(32, 24), coils(6, 32, 24)
    np.savez(tmp_path / "scan.npz", kspace=centred(maps * x))
    full, few = (one(tmp_path, compress=n, normalize="none").measurement for n in (None, 4))
    assert few.shape == (1, 4, 32, 24)
    assert 0.98 < float(few.norm() / full.norm()) <= 1 + 1e-5


@pytest.mark.parametrize("named", ["kspace", "k"])
def test_fastmri_files_are_read_slice_by_slice(tmp_path, named):
    h5py = pytest.importorskip("h5py")
    x = brain(3, 32, 24)
    with h5py.File(tmp_path / "knee.h5", "w") as file:
        file[named] = centred(x)
        file.attrs["acquisition"] = "CORPD"
    data = KspaceData(
        seed=0, test_root=str(tmp_path), key=None if named == "kspace" else named, normalize="none"
    )
    names, found = zip(*data.examples("test"), strict=True)
    assert names == ("knee.h5#0", "knee.h5#1", "knee.h5#2")
    np.testing.assert_allclose(torch.cat([e.image for e in found]).numpy(), x, atol=1e-6)
    # Attributes of padding are not needed: what is zero was not acquired.
    assert open_scan(tmp_path / "knee.h5", data.key).header["acquisition"] == "CORPD"


def test_volumes_of_different_widths_share_no_batch(tmp_path):
    for i, width in enumerate((24, 24, 32, 32, 24)):
        np.save(tmp_path / f"{i}.npy", centred(brain(2, 1, 16, width)))
    root = tmp_path / "extra"
    root.mkdir()
    np.save(root / "v.npy", centred(brain(1, 1, 16, 24)))
    data = KspaceData(
        seed=0, root=str(tmp_path), validation_root=str(root), test_root=str(root), batch_size=2
    )
    with pytest.raises(DataError, match=r"for test, and the same file as"):
        data.items("train")
    data = KspaceData(seed=0, root=str(tmp_path), batch_size=2)
    loader = data.train_loader()
    shapes = [batch.examples.measurement.shape for batch in loader]
    assert len(shapes) == len(loader) and all(shape[0] == 2 for shape in shapes)
    other = [b.index.tolist() for b in data.train_loader()]
    assert other == [b.index.tolist() for b in data.train_loader()]


def test_bart_and_ours_combine_the_real_brain_alike(tmp_path):
    if not DATA:
        pytest.skip("UNFOLD_DATA is not set: the measured brain is not here")
    import shutil
    import subprocess

    if shutil.which("bart") is None:
        pytest.skip("bart is not installed: apt install bart")
    scan = Path(DATA) / "mri_multicoil/espirit/full"

    def bart(*words):
        subprocess.run(["bart", *map(str, words)], check=True, capture_output=True, cwd=tmp_path)

    bart("ecalib", "-m1", "-r24", "-k6", scan, "maps")
    bart("fft", "-iu", "7", scan, "coils")
    bart("fmac", "-C", "-s8", "coils", "maps", "image")
    theirs = np.abs(open_scan_image(tmp_path / "image.cfl"))
    ours = one(f"{scan}.cfl", normalize="none").image[0].abs().numpy()
    assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 1e-3


def open_scan_image(path):
    from unfold.array_files import read_cfl

    return np.squeeze(read_cfl(path))


def test_ismrmrd_leaves_out_what_is_no_line_of_the_image(tmp_path):
    pytest.importorskip("h5py")
    ismrmrd = pytest.importorskip("ismrmrd")
    x, maps = brain(16, 12), coils(2, 16, 12)
    k = centred(maps * x)  # (coils, readout, phases)
    file = tmp_path / "scan.h5"
    with ismrmrd.Dataset(str(file), "dataset", create_if_needed=True) as stored:
        stored.write_xml_header(HEADER)
        for row in range(12):
            stored.append_acquisition(line(ismrmrd, k[:, :, row], row))
        noise = RNG.normal(size=(2, 16)) + 1j * RNG.normal(size=(2, 16))
        for flag in (ismrmrd.ACQ_IS_NOISE_MEASUREMENT, ismrmrd.ACQ_IS_NAVIGATION_DATA):
            other = line(ismrmrd, 100 * noise, 5)
            other.setFlag(flag)
            stored.append_acquisition(other)
    found = open_scan(file)
    assert found.shape == (2, 16, 12) and found.arrays["noise"].shape == (2, 16)
    np.testing.assert_allclose(found.read(0), k, atol=1e-5)


def line(ismrmrd, samples, row):
    made = ismrmrd.Acquisition.from_array(np.ascontiguousarray(samples.astype(np.complex64)))
    made.idx.kspace_encode_step_1 = row
    made.center_sample = samples.shape[1] // 2
    return made


SPACE = """<matrixSize><x>16</x><y>12</y><z>1</z></matrixSize>
<fieldOfView_mm><x>1</x><y>1</y><z>1</z></fieldOfView_mm>"""
HEADER = f"""<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<experimentalConditions><H1resonanceFrequency_Hz>1</H1resonanceFrequency_Hz></experimentalConditions>
<encoding><encodedSpace>{SPACE}</encodedSpace><reconSpace>{SPACE}</reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>11</maximum>
<center>6</center></kspace_encoding_step_1></encodingLimits>
<trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"""


def broken(name, k):
    if name == "nan":
        k[0, 3, 4] = np.nan
    if name == "zero":
        k[:] = 0
    if name == "corner":
        k = np.fft.ifftshift(k, (-2, -1))
    if name == "real":
        k = np.abs(k)
    return k


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nan", r"scan.npy, slice 0: 1 frequencies are not finite, the first at \[0, 3, 4\]"),
        ("zero", r"scan.npy, slice 0: all frequencies are 0"),
        ("corner", r"most energy is at \[0, 0\] .* expected at \[8, 12\]. Set data.centred=false"),
        ("real", r"scan.npy: the frequencies are float32, and complex is expected"),
    ],
)
def test_frequencies_that_cannot_be_meant_are_named(tmp_path, name, words):
    np.save(tmp_path / "scan.npy", broken(name, centred(brain(1, 16, 24))))
    with pytest.raises(DataError, match=words):
        one(tmp_path)


def test_missing_arrays_are_named_with_those_there_are(tmp_path):
    k = centred(coils(2, 16, 24) * brain(16, 24))
    np.savez(tmp_path / "scan.npz", measured=k, other=k)
    with pytest.raises(DataError, match=r"no array 'kspace'.* It has measured, other; name the"):
        one(tmp_path)
    with pytest.raises(DataError, match=r"no array 'sens'\. It has other; set data\.maps"):
        one(tmp_path, key="measured", maps="sens")
    (tmp_path / "scan.npz").unlink()
    np.savez(tmp_path / "scan.npz", kspace=k, maps=k[:1])
    with pytest.raises(DataError, match=r"maps of \(1, 16, 24\) for frequencies of \(2, 16, 24\)"):
        one(tmp_path, maps="maps")


def test_a_faulty_file_among_many_is_named_and_left_out_where_asked(tmp_path):
    for i in range(6):
        np.save(tmp_path / f"{i}.npy", centred(brain(16, 24)))
    (tmp_path / "3.npy").write_bytes(b"not an array")
    with pytest.raises(DataError, match=r"(?s)1 files cannot be used .*skip_faulty=true.*3.npy"):
        KspaceData(seed=0, root=str(tmp_path)).items("train")
    with pytest.warns(match=r"(?s)1 files are left out: .*3.npy"):
        found = KspaceData(seed=0, root=str(tmp_path), skip_faulty=True).shapes()
    assert sum(map(len, found.values())) == 5


def test_an_unchanged_file_is_not_opened_again(tmp_path, monkeypatch):
    folder = tmp_path / "scans"
    folder.mkdir()
    for i in range(4):
        np.save(folder / f"{i}.npy", centred(brain(16, 24)))
    first = KspaceData(seed=0, root=str(folder)).fingerprint()
    monkeypatch.setattr(KspaceData, "kinds", lambda *_: pytest.fail("it was read again"))
    assert KspaceData(seed=0, root=str(folder)).fingerprint() == first
    for path in (tmp_path / "cache").rglob("*.json"):  # what is forged is computed again
        path.write_text(path.read_text().replace("sha256", "sha257"))
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert KspaceData(seed=0, root=str(folder)).fingerprint() == first
    np.save(folder / "2.npy", centred(brain(16, 24)))
    assert KspaceData(seed=0, root=str(folder)).fingerprint() != first


def test_a_mask_of_another_size_or_of_zeros_is_refused(tmp_path):
    np.save(tmp_path / "mask.npy", np.ones(20))
    x = torch.rand(1, 1, 16, 24)
    with pytest.raises(ShapeError, match=r"a mask of \(1, 20\) for frequencies of 16 x 24"):
        MRI(NoNoise(), str(tmp_path / "mask.npy")).measure(x, Draws(0, [0]))
    np.save(tmp_path / "mask.npy", np.zeros(24))
    with pytest.raises(DataError, match="a mask is 0 everywhere"):
        MRI(NoNoise(), str(tmp_path / "mask.npy")).measure(x, Draws(0, [0]))
    with pytest.raises(DataError, match=r"MRI.mask = data: the data have no parameters"):
        MRI(NoNoise(), "data").measure(x, Draws(0, [0]))


@pytest.mark.parametrize("whitened", [False, True])
def test_the_maximum_of_a_volume_that_a_file_states_comes_with_its_slices(tmp_path, whitened):
    h5py = pytest.importorskip("h5py", reason="pip install -e '.[io]'")
    x = brain(2, 1, 16, 24)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = centred(np.concatenate((x, 0.5 * x), 1))
        file["maps"] = np.stack([np.full((16, 24), s) for s in (0.8, 0.6)]) + 0j
        file["noise"] = 3 * RNG.standard_normal((2, 500)) + 0j
        file.attrs["max"] = np.float32(7.5)
    found = one(tmp_path, maps="maps", normalize=3.0, noise="noise" if whitened else None)
    if whitened:  # another unit, which the file knows nothing of
        assert stack([found]).maximum is None
    else:
        assert float(stack([found]).maximum) == 2.5
