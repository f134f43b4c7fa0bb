"""Measured files from training without truth to reconstruction and adaptation, in five lines."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.signal import convolve2d

from tests.data.test_kspace import brain, centred, coils
from unfold.cli.console import guarded
from unfold.cli.main import dispatch
from unfold.cli.reconstruct import expect_new
from unfold.errors import ConfigError, DataError, DataWarning
from unfold.evaluation.records import read_rows

NETWORK = (
    *("prior.denoiser.depth=3", "prior.denoiser.width=4", "trainer.progress=false"),
    *("model.iterations=2", "trainer.max_steps=2"),
)
SCANS = (
    *("data=kspace", "data.root=scans", "data.maps=maps", "physics=multicoil_mri"),
    *("physics/noise=measured", "algo=hqs"),
)


def run(*arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return guarded(dispatch, arguments)


def scan(path, seed, zero=False):
    rng, maps = np.random.default_rng(seed), coils(3, 28, 26)
    k = centred(maps * brain(28, 26)) + 0.01 * rng.standard_normal((3, 28, 26))
    mask = np.zeros(26)
    mask[[1, *range(8, 19), 22 + seed % 4]] = not zero
    np.savez(path, kspace=(k * mask).astype(np.complex64), maps=maps.astype(np.complex64))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four scans without truth, and a run that was trained on them by splitting."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("measured")
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        Path("scans").mkdir()
        for i in range(4):
            scan(f"scans/s{i}.npz", i)
        splitting = ("loss=splitting", "objective=validation/loss")
        assert run("train", *SCANS, *splitting, *NETWORK) == 0
    return folder


@pytest.fixture
def trained(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    path = next(path.parent for path in folder.rglob("weights.safetensors"))
    return path, tmp_path


def test_without_truth_an_evaluation_reports_what_can_be_known(trained):
    rows = read_rows(trained[0] / "evaluation/rows.csv")
    own = {row.metric for row in rows if row.method == "ours"}
    assert own == {"consistency", "held_out_error", "risk"}
    assert all(np.isfinite(row.value) for row in rows)


def test_an_objective_that_needs_truth_is_refused(trained, capsys):
    assert run("train", *SCANS, "loss=splitting", *NETWORK) == ConfigError.exit_code
    assert "Set objective=validation/loss" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x.npy", "x.nii.gz", "x.h5", "x.tif", "x.png"])
def test_a_scan_is_written_in_its_own_unit(trained, name):
    path, out = trained
    given = (f"run={path}", "measurement=scans/s0.npz")
    assert run("reconstruct", *given, f"output={out / 'ref.npy'}") == 0
    assert run("reconstruct", *given, f"output={out / name}") == 0
    assert run("reconstruct", *given, f"output={out / name}") == ConfigError.exit_code
    wanted = np.load(out / "ref.npy")[0]
    assert np.iscomplexobj(wanted)
    if name.endswith("h5"):
        with pytest.importorskip("h5py").File(out / name) as file:
            np.testing.assert_array_equal(file["reconstruction"][0], wanted)
    elif name.endswith("gz"):
        found = pytest.importorskip("nibabel").load(out / name).get_fdata()
        np.testing.assert_allclose(found[..., 0], np.abs(wanted), rtol=1e-6)
    elif name.endswith(("tif", "png")):
        with Image.open(out / name) as picture:
            step = float(picture.info.get("scale", 1))
            found = np.asarray(picture) * step
        exact = step if name.endswith("png") else 1e-6
        np.testing.assert_allclose(found, np.abs(wanted), atol=exact)


@pytest.mark.parametrize("kind", ["file", "folder", "link", "broken link"])
def test_what_is_there_is_not_replaced(tmp_path, kind):
    path, target = tmp_path / "x.npy", tmp_path / "target"
    if kind == "link":
        target.touch()
    {"file": path.touch, "folder": path.mkdir}.get(kind, lambda: path.symlink_to(target))()
    with pytest.raises(ConfigError, match=r"x\.npy: exists, and is not replaced"):
        expect_new(path)
    expect_new(tmp_path / "new.npy")


def test_a_folder_is_reconstructed_and_a_faulty_file_named(trained, capsys):
    path, out = trained
    (out / "in/deep").mkdir(parents=True)
    scan(out / "in/deep/a.npz", 0)
    scan(out / "in/b.npz", 1)
    scan(out / "in/bad.npz", 1, zero=True)
    given = (f"run={path}", f"measurement={out / 'in'}", "format=npy")
    assert run("reconstruct", *given, f"output={out / 'one'}") == DataError.exit_code
    assert "bad.npz, slice 0: all frequencies are 0" in capsys.readouterr().err
    assert run("reconstruct", *given, f"output={out / 'two'}", "data.skip_faulty=true") == 0
    for name in ("one", "two"):
        assert {p.name for p in (out / name).rglob("*.npy")} == {"a.npy", "b.npy"}
    assert (out / "two/deep/a.npy").is_file()


def test_a_mask_that_is_given_restricts_what_was_acquired(trained, capsys):
    path, out = trained
    columns = np.zeros(26)
    columns[10:16] = 1
    np.save(out / "m.npy", columns)
    given = (f"run={path}", "measurement=scans/s1.npz", f"physics.mask={out / 'm.npy'}")
    assert run("reconstruct", *given, f"output={out / 'x.npy'}") == 0
    assert f"{6 / 26:.4g}" in capsys.readouterr().out


def test_what_is_unlike_the_training_is_reported_with_figures(trained, capsys):
    path, out = trained
    low, high = json.loads((path / "ranges.json").read_text())["norm"]
    assert 0 < low <= high < 10
    given = (f"run={path}", "measurement=scans/s0.npz", f"output={out / 'x.npy'}")
    words = rf"norm [\d.e+]+, and the run was trained on {low:.3g} to {high:.3g}"
    with pytest.warns(DataWarning) as found:
        assert guarded(dispatch, ("reconstruct", *given, "data.normalize=1e-3")) == 0
    assert any(re.search(words, str(one.message)) for one in found)


def test_adapting_to_one_scan_repeats_and_names_its_parent(trained):
    path, out = trained
    given = (f"run={path}", "measurement=scans/s2.npz", "steps=4", "lr=1e-3")
    for name in ("a", "b"):
        assert run("adapt", *given, f"output={out / name}") == 0
    made = json.loads((out / "a/adapted.json").read_text())
    assert made["parent"]["path"] == str(path) and made["settings"]["steps"] == 4
    assert made["scores"]["held out"] <= made["scores"]["held out before"]
    for name in ("weights.safetensors", "reconstruction.npy"):
        assert (out / "a" / name).read_bytes() == (out / "b" / name).read_bytes()
    again = ("reconstruct", *given[:2], f"weights={out / 'a'}", f"output={out / 'x.npy'}")
    assert run(*again) == 0
    assert (out / "x.npy").read_bytes() == (out / "a/reconstruction.npy").read_bytes()


def test_a_photograph_has_no_periodic_border(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    kernel = np.ones((5, 5)) / 25
    rows, columns = np.mgrid[:40, :44]
    truth = 0.2 + 0.3 * (rows + columns > 40) + 0.4 * rows / 40
    photo = convolve2d(truth, kernel, "valid")
    np.save("k.npy", kernel)
    np.save("photo.npy", photo.astype(np.float32))
    physics = ("physics=motion_blur", "physics.kernel=k.npy", "physics.noise.sigma=0.01")
    assert run("train", *physics, *NETWORK, "evaluation=none") == 0
    (path,) = Path("runs").glob("*/*")
    errors = {}
    for name in ("open", "circular"):
        given = (f"run={path}", "measurement=photo.npy", f"boundary={name}")
        assert run("reconstruct", *given, f"output={name}.npy") == 0
        found = np.load(f"{name}.npy")[0]
        assert found.shape == photo.shape
        errors[name] = np.abs(found - truth[2:-2, 2:-2])[:4].mean()
    assert errors["open"] < 0.7 * errors["circular"], errors
    assert "a photograph is not periodic" in capsys.readouterr().out
