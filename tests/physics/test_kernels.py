"""Kernels: non-negative, of sum 1, centred, of the stated width, length and file."""

import importlib.util
import math

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from unfold.errors import ConfigError, DataError
from unfold.physics.blur.kernel_files import FixedKernel, KernelFile
from unfold.physics.blur.kernels import (
    DiskKernel,
    GaussianKernel,
    Kernel,
    LensKernel,
    MotionKernel,
    splat,
)
from unfold.random import Draws

DRAWS = Draws(seed=1, images=range(20), dtype=torch.float64)
VALUES = torch.tensor([[0.0, 2.0, 1.0], [1.0, 3.0, 0.0], [0.5, 0.0, 0.0]], dtype=torch.float64)
KERNELS = {
    "gaussian": GaussianKernel(9, 1.2),
    "gaussian range": GaussianKernel(9, (0.3, 3.0)),
    "disk": DiskKernel(9, 2.5),
    "disk range": DiskKernel(9, [0, 4]),
    "motion": MotionKernel(15, 14.0),
    "motion range": MotionKernel(15, (1.0, 14.0), bend=6.0),
    "motion straight": MotionKernel(15, (14.0), bend=0.0),
    "motion small": MotionKernel(3, 2.0),
    "lens": LensKernel(9, 2.0),
    "lens range": LensKernel(9, (1.0, 3.0), (0.0, 2.0)),
    "fixed": FixedKernel(VALUES),
}


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_what_every_kernel_promises(kernel: Kernel):
    h = kernel.sample(DRAWS)
    assert h.shape == (1 if kernel.is_deterministic else 20, 1, *kernel.shape)
    assert h.dtype == torch.float64 and float(h.min()) >= 0
    assert float((h.sum((1, 2, 3)) - 1).abs().max()) < 1e-14
    assert torch.equal(kernel.sample(DRAWS), h)
    some = kernel.sample(DRAWS.take([7, 2]))
    assert torch.equal(some, h if kernel.is_deterministic else h[[7, 2]])
    assert kernel.sample(Draws(seed=1, images=range(2))).dtype == torch.float32


@pytest.mark.parametrize("name", [name for name in KERNELS if name != "fixed"])
def test_the_centroid_is_the_central_pixel(name: str):
    h = KERNELS[name].sample(DRAWS)
    u = torch.arange(h.shape[-1], dtype=torch.float64) - (h.shape[-1] - 1) / 2
    assert float((h.sum(-2) @ u).abs().max()) < 1e-12
    assert float((h.sum(-1) @ u).abs().max()) < 1e-12


def test_gaussian_is_that_of_the_formula():
    h = GaussianKernel(21, 1.7).sample(DRAWS)[0, 0]
    u = torch.arange(21, dtype=torch.float64) - 10
    assert abs(float((h.sum(0) * u**2).sum()) - 1.7**2) < 1e-3
    assert abs(float(h[10, 11] / h[10, 10]) - math.exp(-1 / (2 * 1.7**2))) < 1e-12


def test_a_disk_of_radius_zero_leaves_the_image():
    h = DiskKernel(5, 0.0).sample(DRAWS)[0, 0]
    assert float(h[2, 2]) == 1.0
    assert (
        abs(float((DiskKernel(31, 12.0).sample(DRAWS) > 0).sum()) / (math.pi * 12.5**2) - 1) < 0.02
    )


def test_a_straight_motion_has_its_length():
    h = MotionKernel(31, 20.0, bend=0.0).sample(DRAWS)[:, 0]
    u = torch.arange(31, dtype=torch.float64) - 15
    second = (h.sum(1) @ u**2) + (h.sum(2) @ u**2)
    spread = 20.0**2 / 12
    assert float((second - spread).abs().max()) < 0.6


def test_bent_paths_are_shorter_from_end_to_end():
    spreads = []
    for bend in (0.0, 2.0, 8.0):
        h = MotionKernel(31, 20.0, bend=bend).sample(DRAWS)[:, 0]
        u = torch.arange(31, dtype=torch.float64) - 15
        spreads.append(float(((h.sum(1) @ u**2) + (h.sum(2) @ u**2)).mean()))
    assert spreads[0] > spreads[1] > spreads[2]


def test_splatting_is_bilinear():
    h = splat(np.array([[0.25], [-0.5]]), 3)
    want = np.zeros((3, 3))
    want[1, 0], want[1, 1], want[2, 0], want[2, 1] = 0.375, 0.375, 0.125, 0.125
    assert np.abs(h - want).max() < 1e-15
    assert splat(np.array([[1.0], [1.0]]), 3)[2, 2] == 1.0


def test_the_gradient_reaches_a_fixed_kernel():
    values = VALUES.clone().requires_grad_()
    FixedKernel(values).sample(DRAWS).square().sum().backward()
    assert float(values.grad.abs().max()) > 0


def test_kernels_from_files(tmp_path):
    np.save(tmp_path / "h.npy", VALUES.numpy())
    Image.fromarray((80 * VALUES).to(torch.uint8).numpy()).save(tmp_path / "h.png")
    Image.fromarray((80 * VALUES).to(torch.float32).numpy()).save(tmp_path / "h.tif")
    want = FixedKernel(VALUES).sample(DRAWS)
    for name in ("h.npy", "h.png", "h.tif"):
        kernel = KernelFile(str(tmp_path / name))
        assert kernel.is_deterministic and kernel.shape == (3, 3)
        assert float((kernel.sample(DRAWS) - want).abs().max()) < 1e-15
    Image.fromarray((20000 * VALUES).to(torch.uint16).numpy()).save(tmp_path / "deep.png")
    assert float((KernelFile(str(tmp_path / "deep.png")).sample(DRAWS) - want).abs().max()) < 1e-15


def test_a_file_of_several_kernels_draws_one_for_each_image(tmp_path):
    small, large = np.array([[0.0, 1, 0], [2, 1, 0], [0, 0, 0]]), np.arange(15.0).reshape(3, 5)
    np.savez(tmp_path / "h.npz", small=small, large=large)
    cells = np.empty((1, 2), dtype=object)
    cells[0, 0], cells[0, 1] = small, large
    scipy.io.savemat(tmp_path / "h.mat", {"kernels": cells})
    np.save(tmp_path / "h.npy", np.stack([np.pad(small, ((0, 0), (1, 1))), large]))
    want = np.stack([np.pad(small, ((0, 0), (1, 1))) / small.sum(), large / large.sum()])
    many = Draws(seed=1, images=range(60), dtype=torch.float64)
    for name in ("h.npz", "h.mat", "h.npy"):
        kernel = KernelFile(str(tmp_path / name))
        assert not kernel.is_deterministic and kernel.shape == (3, 5)
        h = kernel.sample(many)[:, 0].numpy()
        which = [[np.abs(one - k).max() < 1e-15 for k in want] for one in h]
        assert np.sum(which, 1).tolist() == [1] * 60 and 15 < np.sum(which, 0)[0] < 45
        alone = KernelFile(str(tmp_path / name), 0)
        assert alone.is_deterministic and torch.equal(alone.sample(many), alone.sample(DRAWS))
    assert KernelFile(str(tmp_path / "h.npz"), 0).shape == (3, 3)
    with pytest.raises(ConfigError, match=r"index = 2: .*h.npz holds 2 kernels, from 0 to 1"):
        KernelFile(str(tmp_path / "h.npz"), 2)
    np.savez(tmp_path / "none.npz")
    with pytest.raises(DataError, match=r"none.npz: holds no array"):
        KernelFile(str(tmp_path / "none.npz"))


def test_matlabs_hdf5_is_read_or_the_package_named(tmp_path):
    file = tmp_path / "h.mat"
    small, large = np.arange(9.0).reshape(3, 3), np.arange(15.0).reshape(3, 5)
    if importlib.util.find_spec("h5py") is None:
        file.write_bytes(b"MATLAB 7.3 MAT-file".ljust(600))
        with pytest.raises(
            DataError, match=r"h.mat: cannot be read: needs the package 'h5py'.* pip install"
        ):
            KernelFile(str(file))
        return
    import h5py

    with h5py.File(file, "w", userblock_size=512) as stored:
        cells = [
            stored.create_dataset(f"#refs#/{i}", data=h.T) for i, h in enumerate((small, large))
        ]
        stored.create_dataset("kernels", data=[[c.ref] for c in cells], dtype=h5py.ref_dtype)
    with file.open("r+b") as opened:
        opened.write(b"MATLAB 7.3 MAT-file")
    assert KernelFile(str(file)).shape == (3, 5)
    want = torch.from_numpy(small / small.sum())
    assert float((KernelFile(str(file), 0).sample(DRAWS) - want).abs().max()) < 1e-15


BAD = {
    "nan": (np.array([[np.nan]]), "1 of its values are not finite"),
    "even": (np.ones((4, 3)), "a kernel of 4 x 3 pixels has no centre; add a row"),
    "empty": (np.ones((0, 3)), r"got \(0, 3\)"),
    "negative": (-np.ones((3, 3)), "go from -1 to -1; a kernel is non-negative"),
    "zero": (np.zeros((3, 3)), "go from 0 to 0; a kernel is non-negative and not all 0"),
    "colour": (np.ones((1, 3, 3, 3)), r"got \(1, 3, 3, 3\) of float64. Save one channel"),
    "complex": (np.ones((3, 3), dtype=complex), "a table of real numbers"),
    "pickled": (np.array([{}], dtype=object), "cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named(name: str, tmp_path):
    values, words = BAD[name]
    file = tmp_path / f"{name}.npy"
    np.save(file, values, allow_pickle=True)
    with pytest.raises(DataError, match=f"{name}.npy: .*{words}"):
        KernelFile(str(file))
    if name != "pickled":
        with pytest.raises(ConfigError, match=f"FixedKernel.values: .*{words}"):
            FixedKernel(torch.from_numpy(values))


def test_missing_and_unknown_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none.npy: there is no such file"):
        KernelFile(str(tmp_path / "none.npy"))
    with pytest.raises(DataError, match=r"h.txt: arrays are read from .*npy, .*, not '.txt'"):
        KernelFile(str(tmp_path / "h.txt"))
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken.png: cannot be read as a kernel"):
        KernelFile(str(tmp_path / "broken.png"))
    Image.new("RGB", (3, 3)).save(tmp_path / "rgb.png")
    with pytest.raises(DataError, match=r"rgb.png: .* Save one channel"):
        KernelFile(str(tmp_path / "rgb.png"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: GaussianKernel(4, 1.0),
            r"GaussianKernel.size: a kernel of 4 .* use an odd size, such as 3 or 5",
        ),
        (
            lambda: GaussianKernel(5, 0.0),
            r"GaussianKernel.sigma = 0.0: must be positive, in pixels",
        ),
        (
            lambda: GaussianKernel(5, (1.0, -1.0)),
            r"GaussianKernel.sigma = \[1.0, -1.0\]: must be positive",
        ),
        (
            lambda: DiskKernel(5, 3.0),
            r"DiskKernel.radius = 3.0: .* at most \(size - 1\) / 2 = 2.0 pixels",
        ),
        (lambda: DiskKernel(6, 1.0), "DiskKernel.size: a kernel of 6"),
        (
            lambda: MotionKernel(15, 15.0),
            r"MotionKernel.length = 15.0: .* at most size - 1 = 14 pixels",
        ),
        (
            lambda: MotionKernel(15, 5.0, bend=-1.0),
            r"MotionKernel.bend = -1.0: must be zero or positive",
        ),
        (lambda: LensKernel(7, 0.0), r"LensKernel.radius = 0.0: must be positive, in pixels"),
        (
            lambda: LensKernel(7, 1.0, (0.0, 9.0)),
            r"LensKernel.defocus = .* in \[0, 5\], in wavelengths",
        ),
        (lambda: LensKernel(8, 1.0), r"LensKernel.size: a kernel of 8 pixels has no centre"),
        (lambda: MotionKernel(0, 5.0), r"MotionKernel.size: a kernel of 0 pixels has no centre"),
    ],
)
def test_bad_kernels_say_what_is_wrong(make, words):
    with pytest.raises(ConfigError, match=words):
        make()
