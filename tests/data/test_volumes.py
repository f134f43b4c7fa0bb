"""Images of scans and arrays: each format is written by its own library."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from unfold.cli.check import check_data
from unfold.data.volumes import VolumeData
from unfold.errors import DataError, DataWarning

RNG = np.random.default_rng(0)
STACK = RNG.random((4, 6, 5))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def examples(folder, **options):
    return [one for _, one in VolumeData(0, test_root=str(folder), **options).examples("test")]


def images(folder, **options):
    return np.stack([one.image.numpy() for one in examples(folder, **options)])


def folder_of(tmp_path):
    (tmp_path / "scans").mkdir()
    return tmp_path / "scans"


def nifti(path, values, **scaling):
    nib = pytest.importorskip("nibabel")
    affine = np.array([[-2.0, 0, 0, 9], [0, 3, 0, -7], [0, 0, 4, 5], [0, 0, 0, 1]])
    volume = nib.Nifti1Image(values, affine)
    volume.header.set_slope_inter(*scaling.get("slope", (None, None)))
    nib.save(volume, path)
    return affine


def dicom(path, values, **tags):
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data = pydicom.Dataset()
    data.file_meta = meta
    frames = values.shape[0] if values.ndim == 3 else 0
    data.Rows, data.Columns = values.shape[-2:]
    if frames:
        data.NumberOfFrames = frames
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, int(values.dtype.kind == "i")
    data.PixelData = values.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)


def test_numpy_stacks_and_single_images(tmp_path):
    root = folder_of(tmp_path)
    np.save(root / "a.npy", STACK)
    np.save(root / "b.npy", STACK[0])
    np.savez(root / "c.npz", x=STACK[1], other=STACK)
    found = images(root, key="x")
    np.testing.assert_allclose(found[:, 0], [*STACK, STACK[0], STACK[1]], atol=1e-7)


def test_colour_and_stacks_of_colour(tmp_path):
    root = folder_of(tmp_path)
    colour = RNG.random((3, 6, 5))
    np.save(root / "a.npy", colour)
    np.save(root / "b.npy", np.stack([colour, 1 - colour]))
    found = images(root, channels=3)
    np.testing.assert_allclose(found, [colour, colour, 1 - colour], atol=1e-7)


@pytest.mark.parametrize("writer", ["scipy", "h5py"])
def test_matlab_stacks_along_the_last_axis(tmp_path, writer):
    root = folder_of(tmp_path)
    volume = np.moveaxis(STACK, 0, -1) * (1 + 0.5j) / 2  # (H, W, S) as MATLAB counts
    if writer == "scipy":
        scipy.io.savemat(root / "a.mat", {"im": volume, "n": [[1]]})
    else:
        h5py = pytest.importorskip("h5py")
        pair = np.zeros(volume.T.shape, [("real", "<f8"), ("imag", "<f8")])
        pair["real"], pair["imag"] = volume.T.real, volume.T.imag
        with h5py.File(root / "a.mat", "w") as file:
            file["im"], file["n"] = pair, np.ones((1, 1))
    found = images(root, key="im", stack=-1)
    assert found.dtype == np.complex64
    np.testing.assert_allclose(found[:, 0], STACK * (1 + 0.5j) / 2, atol=1e-7)
    sizes = images(root, key="im", stack=-1, magnitude=True)
    np.testing.assert_allclose(sizes[:, 0], abs(STACK * (1 + 0.5j) / 2), atol=1e-7)


def test_hdf5_is_read_slice_by_slice(tmp_path):
    h5py = pytest.importorskip("h5py")
    root = folder_of(tmp_path)
    with h5py.File(root / "a.h5", "w") as file:
        file["im"] = STACK
        file["unread"] = np.full((2, 2), np.nan)
    np.testing.assert_allclose(images(root, key="im")[:, 0], STACK, atol=1e-7)
    with pytest.raises(DataError, match=r"no array 'in'.*im"):
        images(root, key="in")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_is_scaled_and_keeps_its_affine_and_its_axes(tmp_path, suffix):
    root = folder_of(tmp_path)
    values = RNG.integers(-1000, 3000, (6, 5, 4)).astype(np.int16)
    affine = nifti(root / f"a{suffix}", values, slope=(0.5, 10.0))
    found = examples(root, intensity_range=(-490, 1510))
    want = (0.5 * values + 10 + 490) / 2000
    got = np.stack([one.image[0].numpy() for one in found], -1)
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert all(one.metadata["affine"] == affine.tolist() for one in found)
    assert [one.metadata["slice"] for one in found] == [0, 1, 2, 3]


def test_nifti_of_several_times(tmp_path):
    root = folder_of(tmp_path)
    values = RNG.random((6, 5, 2, 3)).astype(np.float32)
    nifti(root / "a.nii", values)
    want = [values[:, :, z, t] for t in range(3) for z in range(2)]
    np.testing.assert_allclose(images(root)[:, 0], want, atol=1e-7)


def test_dicom_with_and_without_rescale_tags(tmp_path):
    root = folder_of(tmp_path)
    values = RNG.integers(0, 65535, (6, 5)).astype(np.uint16)
    dicom(root / "mr.dcm", values)
    np.testing.assert_allclose(images(root)[0, 0], values / 65535, atol=1e-6)
    (root / "mr.dcm").unlink()
    counts = RNG.integers(0, 3000, (6, 5)).astype(np.uint16)
    dicom(root / "ct.dcm", counts, RescaleSlope=2, RescaleIntercept=-1024)
    with pytest.raises(DataError, match=r"data\.intensity_range"):
        images(root)
    found = images(root, intensity_range=(-1024, 4976))[0, 0]
    np.testing.assert_allclose(found, counts * 2 / 6000, atol=1e-6)
    dicom(root / "ct.dcm", counts, RescaleSlope=2, RescaleIntercept=-1024, BitsStored=16,
          WindowCenter=500, WindowWidth=1001)  # fmt: skip
    shown = np.clip((counts * 2.0 - 1024 - 499.5) / 1000 + 0.5, 0, 1)  # PS3.3, C.11.2.1.2.1
    np.testing.assert_allclose(images(root, window=True)[0, 0], shown, atol=1e-6)


def test_dicom_frames_negatives_and_names_without_suffix(tmp_path):
    root = folder_of(tmp_path)
    values = RNG.integers(0, 4096, (3, 6, 5)).astype(np.uint16)
    dicom(root / "IM0001", values, PhotometricInterpretation="MONOCHROME1", BitsStored=12,
          HighBit=11)  # fmt: skip
    with pytest.raises(DataError, match="no file in it"):
        images(root)
    found = images(root, dicom=[".dcm", ""])
    np.testing.assert_allclose(found[:, 0], 1 - values / 4095, atol=1e-6)


def nested(**sequences):
    """A data set with a sequence of one item for each name."""
    pydicom = pytest.importorskip("pydicom")
    made = pydicom.Dataset()
    for name, tags in sequences.items():
        item = pydicom.Dataset()
        for tag, value in tags.items():
            setattr(item, tag, value)
        setattr(made, name, [item])
    return made


def test_each_frame_of_an_enhanced_file_has_its_own_rescale(tmp_path):
    """PS3.3, C.7.6.16.2.9: of the frame, else of all frames, else of the file."""
    root = folder_of(tmp_path)
    values = RNG.integers(0, 1000, (3, 6, 5)).astype(np.uint16)
    slopes, offsets = (1.0, 2.5, 4.0), (0.0, -100.0, 50.0)
    frames = [
        nested(PixelValueTransformationSequence={"RescaleSlope": s, "RescaleIntercept": b})
        for s, b in zip(slopes[:2], offsets[:2], strict=True)
    ]
    shared = nested(
        PixelValueTransformationSequence={"RescaleSlope": 4.0, "RescaleIntercept": 50.0},
        PixelMeasuresSequence={"PixelSpacing": [0.5, 0.75]},
    )
    dicom(root / "a.dcm", values, PerFrameFunctionalGroupsSequence=[*frames, nested()],
          SharedFunctionalGroupsSequence=[shared])  # fmt: skip
    found = examples(root, intensity_range=(-100, 4100))
    for one, v, s, b in zip(found, values, slopes, offsets, strict=True):
        np.testing.assert_allclose(one.image[0].numpy(), (s * v + b + 100) / 4200, atol=1e-6)
        assert one.metadata["spacing"] == [0.5, 0.75]


@pytest.mark.parametrize("kind", ["RGB", "planes", "YBR_FULL", "YBR_FULL_422"])
def test_colours_of_dicom(tmp_path, kind):
    """PS3.3, C.7.6.3.1.2: Y, C_B and C_R of ITU-R BT.601, in 8 bits about 128."""
    root = folder_of(tmp_path)
    rgb = RNG.integers(40, 200, (6, 4, 3)).astype(float)
    rgb[:, 1::2] = rgb[:, ::2]  # neighbours share their colour, whose differences are halved
    stored = rgb
    if kind.startswith("YBR"):
        matrix = [[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]]
        stored = np.round(rgb @ np.array(matrix).T + [0, 128, 128])
    if kind == "YBR_FULL_422":  # Y Y C_B C_R of two neighbours
        pairs = stored.reshape(6, 2, 2, 3)
        stored = np.concatenate([pairs[..., 0], pairs[..., 0, 1:]], -1)
    if kind == "planes":
        stored = stored.transpose(2, 0, 1)
    name = "RGB" if kind == "planes" else kind
    dicom(root / "a.dcm", np.ascontiguousarray(stored).astype(np.uint8), Rows=6, Columns=4,
          NumberOfFrames=1, SamplesPerPixel=3, PhotometricInterpretation=name, BitsAllocated=8,
          BitsStored=8, HighBit=7, PlanarConfiguration=int(kind == "planes"))  # fmt: skip
    found = images(root, channels=3)[0].transpose(1, 2, 0)
    np.testing.assert_allclose(255 * found, rgb, atol=2.5 if kind.startswith("YBR") else 1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        grey = images(root, channels=1)[0, 0]
    np.testing.assert_allclose(255 * grey, rgb @ [0.299, 0.587, 0.114], atol=2.5)


def test_dicom_that_is_no_picture_of_numbers_is_refused_by_name(tmp_path):
    root = folder_of(tmp_path)
    values = RNG.integers(-900, 900, (6, 5)).astype(np.int16)
    dicom(root / "signed.dcm", values)
    with pytest.raises(DataError, match=r"int16, .*data\.intensity_range"):  # an MR without tags
        images(root)
    found = images(root, intensity_range=(-1000, 1000))[0, 0]
    np.testing.assert_allclose(found, (values + 1000) / 2000, atol=1e-6)
    (root / "signed.dcm").unlink()
    dicom(root / "palette.dcm", values.astype(np.uint16), PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(DataError, match=r"palette\.dcm: pixels of kind PALETTE COLOR; MONOCHROME1"):
        images(root)


def test_pages_of_float_tiff_are_images(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    root = folder_of(tmp_path)
    tifffile.imwrite(root / "a.tif", STACK.astype(np.float32), photometric="minisblack")
    deep = RNG.integers(0, 65536, (2, 6, 5)).astype(np.uint16)
    tifffile.imwrite(root / "b.tiff", deep, photometric="minisblack")
    found = images(root)[:, 0]
    np.testing.assert_allclose(found, [*STACK, *(deep / 65535)], atol=1e-6)


def test_values_outside_the_range_are_clipped_where_asked(tmp_path):
    root = folder_of(tmp_path)
    np.save(root / "a.npy", 4 * STACK - 1)
    with pytest.raises(DataError, match=r"expected \[0, 1\]"):
        images(root, intensity_range=(0, 1))
    found = images(root, intensity_range=(0, 2), clip=True)[:, 0]
    np.testing.assert_allclose(found, np.clip((4 * STACK - 1) / 2, 0, 1), atol=1e-6)


def test_slices_of_a_patient_stay_in_one_split(tmp_path):
    for patient in range(12):
        for series in range(2):
            folder = tmp_path / f"scans/p{patient}/s{series}"
            folder.mkdir(parents=True)
            for i in range(3):
                values = RNG.integers(0, 65535, (6, 5)).astype(np.uint16)
                dicom(folder / f"{i}.dcm", values)
    files = VolumeData(0, root=str(tmp_path / "scans")).files()
    patients = {
        split: {file.name.split("/")[0] for file in every} for split, every in files.items()
    }
    assert sum(map(len, patients.values())) == 12 == len(set.union(*patients.values()))
    apart = VolumeData(0, root=str(tmp_path / "scans"), split_by="file").files()
    assert len({f.name.split("/")[0] for f in apart["train"]}) == 12
    with pytest.raises(DataError, match=r"1 folders: too few.*data\.split_by=file"):
        VolumeData(0, root=str(tmp_path / "scans/p1/s1")).files()


def trained(tmp_path, **options):
    root = tmp_path / "train"
    root.mkdir(exist_ok=True)
    for i in range(6):
        values = np.random.default_rng(i).random((3, 12 + 4 * (i % 2), 12))
        np.save(root / f"{i}.npy", values)
    return VolumeData(0, root=str(root), **options)


def test_crops_of_volumes_of_several_sizes_share_a_batch(tmp_path):
    data = trained(tmp_path, crop=8, batch_size=4, repeats=2)
    data.check()
    batches = list(data.train_loader())
    assert len(batches) == len(data.items("train")) * 2 // 4
    assert all(b.examples.images.shape == (4, 1, 8, 8) for b in batches)
    again = list(data.train_loader())
    assert all(torch.equal(a.images, b.images) for a, b in zip(batches, again, strict=True))
    assert data.typical()[0].images.shape == (1, 1, 8, 8)
    with pytest.raises(DataError, match=r"\d+x12 pixels, smaller than data.crop = 13"):
        trained(tmp_path, crop=13).check()


def test_whole_images_keep_their_sides_and_options_turn_changes_off(tmp_path):
    data = trained(tmp_path, repeats=8)
    shapes = {b.images.shape[-2:] for b in data.train_loader()}
    assert shapes == {(12, 12), (16, 12)}
    plain = trained(tmp_path, repeats=2, flips=False, rotations=False)
    stored = [data.load(item).image for item in data.items("train")]
    for batch in plain.train_loader():
        assert any(torch.equal(batch.images[0], image) for image in stored)


def test_a_doubtful_scale_is_named(tmp_path):
    root = folder_of(tmp_path)
    np.save(root / "a.npy", RNG.integers(0, 4096, (4, 6, 5)).astype(np.uint16))
    data = VolumeData(0, test_root=str(root))
    with pytest.warns(DataWarning, match=r"data\.intensity_range"):
        data.check(training=False)


def hostile(root: Path) -> dict[str, str]:
    """Files that claim more than they hold, or hold less than they should; what is said of each."""
    h5py, nib = pytest.importorskip("h5py"), pytest.importorskip("nibabel")
    with h5py.File(root / "claims.h5", "w") as file:
        file.create_dataset("im", (10**6, 512, 512), "f4", chunks=(1, 512, 512))
    with h5py.File(root / "whole.h5", "w") as file:
        file["im"] = STACK
    (root / "short.h5").write_bytes((root / "whole.h5").read_bytes()[:-64])
    (root / "text.h5").write_text("no HDF5")
    nib.save(nib.Nifti1Image(STACK.astype(np.float32), np.eye(4)), root / "whole.nii")
    (root / "short.nii").write_bytes((root / "whole.nii").read_bytes()[:-64])
    nib.save(nib.Nifti1Image(STACK.astype(np.float32), np.eye(4)), root / "whole.nii.gz")
    (root / "short.nii.gz").write_bytes((root / "whole.nii.gz").read_bytes()[:-64])
    dicom(root / "whole.dcm", np.zeros((6, 5), np.uint16) + 9)
    (root / "short.dcm").write_bytes((root / "whole.dcm").read_bytes()[:-20])
    dicom(root / "claims.dcm", np.zeros((6, 5), np.uint16), NumberOfFrames=10**7)
    (root / "text.dcm").write_text("no DICOM")
    np.save(root / "objects.npy", np.array([{"a": 1}]), allow_pickle=True)
    np.save(root / "nan.npy", np.where(STACK > 0.9, np.nan, STACK))
    np.save(root / "axes.npy", np.zeros(7))
    names = [one.name for one in root.iterdir() if not one.name.startswith("whole")]
    return dict.fromkeys(names, "")


def test_hostile_and_truncated_files_are_named_and_left_out(tmp_path, capsys):
    root = folder_of(tmp_path)
    bad = hostile(root)
    data = VolumeData(0, test_root=str(root), key=None, skip_faulty=True)
    with pytest.warns(DataWarning, match=f"{len(bad)} files are left out"):
        kept = {item.file.name for item in data.items("test")}
    assert kept == {"whole.h5", "whole.nii", "whole.nii.gz", "whole.dcm"} - set()
    with pytest.raises(DataError, match=f"{len(bad)} of {len(bad) + 4} files cannot be used"):
        check_data(data)
    said = capsys.readouterr().out.replace("\n", "")
    assert all(name in said for name in bad)


def test_a_check_reads_again_what_is_known(tmp_path, monkeypatch):
    root = folder_of(tmp_path)
    np.save(root / "a.npy", STACK)
    data = VolumeData(0, test_root=str(root))
    assert data.items("test")
    monkeypatch.setattr(VolumeData, "kinds", lambda *_: 1 / 0)
    assert VolumeData(0, test_root=str(root)).items("test")
    (fault,) = VolumeData(0, test_root=str(root)).check_files(lambda: None)["test"].faults
    assert "a.npy: cannot be read (ZeroDivisionError" in fault


def test_each_file_is_decoded_once(tmp_path, monkeypatch):
    import unfold.data.volumes as module

    root = folder_of(tmp_path)
    np.savez(root / "a.npz", STACK)
    opened = []
    real = module.open_stack
    monkeypatch.setattr(module, "open_stack", lambda *a: opened.append(a) or real(*a))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(images(root)) == 4
    assert len(opened) == 1
