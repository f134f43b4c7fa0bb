"""Each kind of file is read as what it is, or refused by name, and bounded before it is decoded."""

import io
import os
import struct
import time
import tracemalloc

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.data.formats import eight, saved, tiff
from tests.security.test_files import array, packed
from unfold import arrays
from unfold.data import image_reader
from unfold.data.image_reader import decode, read_image
from unfold.errors import DataError
from unfold.evaluation.single_image import read_measurement
from unfold.physics.blur.kernel_files import read_kernels

PHOTO = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
MPO, THUMB = 0xB002, 254


def phone():
    """A photograph with a smaller one behind it, as phones write it."""
    file = io.BytesIO()
    large, small = Image.fromarray(PHOTO), Image.fromarray(PHOTO[::2, ::2].copy())
    large.save(file, "MPO", save_all=True, append_images=[small], quality=100, subsampling=0)
    return file.getvalue()


def test_a_phone_photograph_is_its_first_image():
    with Image.open(io.BytesIO(phone())) as opened:
        assert opened.n_frames == 2
        expected = np.asarray(opened.convert("RGB")) / 255
    np.testing.assert_allclose(decode(phone(), "x.jpg", 3).movedim(0, -1), expected, atol=1e-7)


def with_pages(*pages):
    """A TIFF of several images, each (array, subfile type)."""
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for values, kind in pages:
            writer.write(values, subfiletype=kind, metadata=None)
    return file.getvalue()


@pytest.mark.parametrize("values", [PHOTO, PHOTO[..., 0], PHOTO.astype(np.uint16) * 257])
def test_a_thumbnail_page_is_not_the_image(values):
    white = np.iinfo(values.dtype).max
    small, full = (values[::2, ::2].copy(), 1), (values, 0)
    for pages in ((full, small), (small, full), (small, full, small)):
        image = decode(with_pages(*pages), "x.tif", 3).movedim(0, -1)
        expected = values if values.ndim == 3 else values[..., None].repeat(3, -1)
        np.testing.assert_allclose(image, expected / white, atol=1e-7)
    for pages, words in (((full, full), "at least 2 pages"), ((small,), "all its pages are thumb")):
        with pytest.raises(DataError, match=words):
            decode(with_pages(*pages), "x.tif", 3)


def test_a_damaged_second_page_is_refused_by_name():
    data = bytearray(saved(Image.fromarray(PHOTO), "TIFF"))
    order = "<"
    (first,) = struct.unpack(f"{order}I", data[4:8])
    (count,) = struct.unpack(f"{order}H", data[first : first + 2])
    end = first + 2 + 12 * count
    for target in (3, len(data) - 1, 2**31, first):
        data[end : end + 4] = struct.pack(f"{order}I", target)
        try:
            decode(bytes(data), "x.tif", 3)
        except DataError as error:
            assert "x.tif" in str(error)


def bands(count, extra):
    """A TIFF of `count` bands of 8 bits, three of them red, green and blue."""
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    values = np.random.default_rng(1).integers(0, 256, (6, 7, count), np.uint8)
    kind = "rgb" if count > 2 else "minisblack"
    tifffile.imwrite(file, values, photometric=kind, planarconfig="contig", extrasamples=extra)
    return file.getvalue()


REFUSED = {
    "two bands": (lambda: bands(2, ["unspecified"]), "2 bands"),
    "four bands": (lambda: bands(4, ["unspecified"]), "4 bands"),
    "five bands": (lambda: bands(5, ["unspecified"] * 2), "5 bands"),
    "six bands": (lambda: bands(6, ["unspecified"] * 3), "6 bands"),
    "alpha and a band": (lambda: bands(5, ["unassalpha", "unspecified"]), "5 bands"),
    "signed bytes": (lambda: signed(), "signed 8-bit"),
    "doubles": (lambda: tiff(np.zeros((3, 4, 1))), "1 float 64-bit samples"),
    "LAB": (lambda: saved(Image.new("LAB", (4, 4)), "TIFF"), "pixels of kind LAB"),
    "animated GIF": (lambda: animated("GIF"), "at least 2 pages"),
    "animated WebP": (lambda: animated("WEBP"), "at least 2 pages"),
    "clear GIF": (lambda: clear(), "12 pixels are transparent"),
}


def signed():
    data = bytearray(tiff(eight(1)))
    where = bytes(data).rindex(struct.pack("<HHI", 339, 3, 1))
    data[where + 8 : where + 10] = struct.pack("<H", 2)
    return bytes(data)


def animated(kind):
    file, frames = io.BytesIO(), [Image.fromarray(PHOTO), Image.fromarray(255 - PHOTO)]
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    return file.getvalue()


def clear():
    image = Image.new("P", (4, 3), 0)
    image.putpalette([0, 0, 0, 255, 255, 255])
    return saved(image, "GIF", transparency=0)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_exactly_is_refused_by_name(name):
    make, words = REFUSED[name]
    with pytest.raises(DataError, match=f"^x: .*{words}"):
        decode(make(), "x", 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PPM", "BMP", "PNG"])
@pytest.mark.parametrize("values", [PHOTO, PHOTO[..., 0]])
def test_lossless_formats_keep_every_value(kind, values):
    if kind == "GIF":
        values = values[..., 0] if values.ndim == 3 else values
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    image = decode(saved(Image.fromarray(values), kind, **options), "x", 3).movedim(0, -1)
    expected = values if values.ndim == 3 else values[..., None].repeat(3, -1)
    np.testing.assert_allclose(image, expected / 255, atol=1e-7)


def sparse(path, size, content=b""):
    with path.open("wb") as file:
        file.write(content)
        os.truncate(file.fileno(), size)
    return path


def refused(read, limit=64 * 2**20):
    """The message of a refusal, which takes little time and memory."""
    begin = time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as error:
            read()
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - begin < 5
    return str(error.value)


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.jpg", "x.gif", "x.pgm"])
def test_a_sparse_file_of_30_gigabytes_is_not_read(name, tmp_path):
    path = sparse(tmp_path / name, 30 * 2**30, saved(Image.fromarray(PHOTO), "PNG"))
    assert f"{30 * 2**30} bytes, more than the limit" in refused(lambda: read_image(path, 1))


def test_a_sparse_array_beyond_the_memory_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "free_memory", lambda: 2**30)
    path = sparse(tmp_path / "y.npy", 30 * 2**30 + 128, array((30 * 2**27,)))
    assert "and 1073741824 are free" in refused(lambda: read_measurement(path, 1))


def test_an_image_beyond_the_memory_is_not_decoded(monkeypatch):
    monkeypatch.setattr(arrays, "free_memory", lambda: 2**28)
    data = saved(Image.new("L", (8000, 8000)), "PNG")
    assert "8000x8000 pixels; it takes" in refused(lambda: decode(data, "x", 1))


def test_two_hundred_thousand_pages_are_not_counted():
    page = struct.Struct("<H" + 7 * "HHII" + "I")
    tags = [(256, 4), (257, 4), (258, 8), (259, 1), (262, 1), (273, 8), (279, 16)]
    data, count = [b"II*\0", struct.pack("<I", 24), bytes(16)], 200_000
    for i in range(count):
        following = 24 + (i + 1) * page.size if i + 1 < count else 0
        data.append(page.pack(7, *(n for tag, v in tags for n in (tag, 4, 1, v)), following))
    content = b"".join(data)
    assert "at least 2 pages" in refused(lambda: decode(content, "x.tif", 1))


def matlab(size):
    """A .mat file of zeros, compressed; SciPy writes it."""
    scipy = pytest.importorskip("scipy.io")
    file = io.BytesIO()
    scipy.savemat(file, {"h": np.zeros(size, np.uint8)}, do_compression=True)
    return file.getvalue()


def test_a_matlab_file_that_unfolds_to_far_more_is_not_read(tmp_path, monkeypatch):
    small = np.eye(3)
    scipy = pytest.importorskip("scipy.io")
    scipy.savemat(tmp_path / "fine.mat", {"h": small, "k": small}, do_compression=True)
    assert [k.tolist() for k in read_kernels(str(tmp_path / "fine.mat"))] == [small.tolist()] * 2
    (tmp_path / "bomb.mat").write_bytes(matlab((80 * 2**20, 1)))
    assert "would unfold to" in refused(lambda: read_kernels(str(tmp_path / "bomb.mat")))
    (tmp_path / "cut.mat").write_bytes(matlab((100, 1))[:-20])
    assert "cut.mat" in refused(lambda: read_kernels(str(tmp_path / "cut.mat")))


def test_an_archive_whose_array_claims_more_than_it_holds_is_not_read(tmp_path):
    (tmp_path / "y.npz").write_bytes(packed(**{"y.npy": array((2**33,))}))
    assert "in" in refused(lambda: read_measurement(tmp_path / "y.npz", 1), 2**22)


def test_a_kernel_of_several_pages_is_refused(tmp_path):
    Image.fromarray(PHOTO[:3, :3, 0]).save(
        tmp_path / "k.tif", save_all=True, append_images=[Image.fromarray(PHOTO[:3, :3, 1])]
    )
    with pytest.raises(DataError, match="several pages"):
        read_kernels(str(tmp_path / "k.tif"))


def test_only_the_formats_of_the_list_are_tried():
    assert {".png", ".mpo", ".webp", ".pgm", ".gif"} <= set(image_reader.suffixes())
    with pytest.raises(DataError, match="not an image that can be read"):
        decode(saved(Image.fromarray(PHOTO), "ICO"), "x", 3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"P5 2 2 255\n" + bytes(4) + b"P5 2 2 255\n" + bytes(4), r"15 bytes after the image"),
        (b"P2 2 2 255\n1 2 3 4\n", "a PNM file of kind P2, and P1, P4, P5, P6 and Pf are read"),
    ],
)
def test_what_a_netpbm_file_holds_besides_one_binary_image_is_named(tmp_path, content, words):
    (tmp_path / "x.pgm").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_image(tmp_path / "x.pgm", 1)


def test_comments_of_a_netpbm_header_are_no_pixels(tmp_path):
    (tmp_path / "x.pgm").write_bytes(b"P5 # wide\n2 2 # high\n255 # white\n" + bytes([1, 2, 3, 4]))
    found = read_image(tmp_path / "x.pgm", 1)
    np.testing.assert_allclose(255 * found[0].numpy(), [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 5, 1), "f2"), "1 float 16-bit samples"),
        (np.zeros((4, 5, 1), "f8"), "1 float 64-bit samples"),
        (np.zeros((4, 5, 3), "f4"), "3 float 32-bit samples"),
        (np.zeros((4, 5, 2), "u2"), "2 unsigned 16-bit samples"),
    ],
)
def test_a_tiff_that_is_not_read_is_named_by_its_samples(tmp_path, array, words):
    kind = "rgb" if array.shape[2] == 3 else "minisblack"
    plan = None if array.shape[2] == 1 else "contig"
    tifffile.imwrite(tmp_path / "x.tif", array.squeeze(), photometric=kind, planarconfig=plan)
    with pytest.raises(DataError, match=f"x.tif: a TIFF file of {words}"):
        read_image(tmp_path / "x.tif", 1)
