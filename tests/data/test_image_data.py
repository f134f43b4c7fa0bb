"""The data modules, alone and under Lightning's trainer."""

import multiprocessing
from importlib.resources import files

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from tests.data.test_folder import write
from unfold.data.batches import TrainBatches
from unfold.data.image_data import EmbeddedData, FolderData
from unfold.errors import ConfigError, DataError
from unfold.training.fit import DataModule

pytestmark = pytest.mark.filterwarnings(
    # Lightning 2.6.6 calls what PyTorch 2.13 deprecates; nobody here can change that.
    "ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning"
)


@pytest.fixture
def folder(tmp_path):
    for i in range(6):
        write(tmp_path / "images" / f"{i}.png", 20 + i, 30, seed=i)
    return tmp_path / "images"


def folder_data(folder, **changes):
    return FolderData(**({"seed": 0, "root": str(folder), "crop": 12, "batch_size": 4} | changes))


class Recorder(pl.LightningModule):
    """Learns one number, and writes down what it was shown."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen, self.validated = [], []

    def training_step(self, batch, batch_idx):
        self.seen.append((batch.epoch, batch.index.tolist(), float(batch.images.double().sum())))
        return (self.weight - batch.images).square().mean()

    def validation_step(self, batch, batch_idx):
        self.validated.append((batch.epoch, batch.index.tolist()))

    def configure_optimizers(self):
        assert self.trainer.estimated_stepping_batches > 0  # makes Lightning ask for the loader
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Saver(pl.Callback):
    """Saves the state of the training after one step."""

    def __init__(self, path, step):
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def train(tmp_path, images, steps, *, resume=None, save_at=-1):
    recorder = Recorder()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        callbacks=[Saver(tmp_path / "state.ckpt", save_at)],
    )
    trainer.fit(recorder, images, ckpt_path=resume)
    return recorder


def test_the_embedded_images_are_as_described():
    data = EmbeddedData(seed=0)
    data.check()
    shapes = {split: [tuple(x.shape) for _, x in data.images(split)] for split in data.files()}
    assert shapes == {
        "train": [(1, 256, 256)] * 8,
        "validation": [(1, 128, 128)] * 2,
        "test": [(1, 128, 128)] * 2,
    }
    assert all(0 <= x.min() < x.max() <= 1 and x.std() > 0.05 for _, x in data.images("test"))


def test_each_embedded_image_has_its_licence_and_all_are_small():
    images = files("unfold.data") / "images"
    notes = (images / "LICENSES.md").read_text()
    for channels, count, folder in ((1, 12, images), (3, 9, images / "colour")):
        parts = EmbeddedData(seed=0, channels=channels).files().values()
        names = [f.name for part in parts for f in part]
        assert len(set(names)) == count
        assert all(f"| {name} |" in notes for name in names)
        assert sum(len((folder / name).read_bytes()) for name in names) < 800_000


def test_the_embedded_camera_is_an_average_over_areas_of_the_original():
    original = pytest.importorskip("skimage.data").camera().astype(float)
    averages = original.reshape(128, 4, 128, 4).mean((1, 3))
    camera = dict(EmbeddedData(seed=0).images("test"))["camera.png"][0].numpy() * 255
    assert np.abs(camera - averages).max() <= 0.51


def test_the_embedded_cat_is_an_average_over_areas_of_the_original_in_colour():
    original = pytest.importorskip("skimage.data").chelsea()[:, 75:375].astype(float)
    averages = np.kron(original, np.ones((32, 32, 1))).reshape(128, 75, 128, 75, 3).mean((1, 3))
    data = EmbeddedData(seed=0, channels=3)
    data.check()
    cat = dict(data.images("test"))["chelsea.png"].permute(1, 2, 0).numpy() * 255
    assert np.abs(cat - averages).max() <= 0.51


def test_a_default_epoch_is_50_steps_of_4():
    batches = list(EmbeddedData(seed=0).train_loader())
    assert [tuple(b.images.shape) for b in batches] == [(4, 1, 48, 48)] * 50
    assert sorted(i for b in batches for i in b.index.tolist()) == list(range(200))


@pytest.mark.parametrize("name", ["crop", "batch_size", "multiple_of", "crops_per_image"])
def test_a_number_out_of_range_is_refused(name):
    with pytest.raises(ConfigError, match=f"{name} = 0: must be a whole number of at least 1"):
        EmbeddedData(**{"seed": 0, name: 0})


def test_a_negative_number_of_workers_is_refused():
    with pytest.raises(ConfigError, match="workers = -1: must be a whole number of at least 0"):
        EmbeddedData(seed=0, workers=-1)


def test_a_crop_larger_than_the_images_is_refused_up_front():
    with pytest.raises(
        DataError,
        match=r"astronaut.png: 256x256 pixels, smaller than the 257x257 that Emb.*crop",
    ):
        EmbeddedData(seed=0, crop=257).check()


def test_a_batch_larger_than_an_epoch_is_refused_up_front():
    with pytest.raises(ConfigError, match="an epoch has only 8 samples"):
        EmbeddedData(seed=0, crops_per_image=1, batch_size=9).check()


def test_an_unknown_split_gets_the_nearest():
    with pytest.raises(ConfigError, match=r"split = val: unknown.*validation"):
        EmbeddedData(seed=0).images("val")


def test_colour_and_grey_of_a_folder(folder):
    (_, colour), *_ = folder_data(folder, channels=3).images("train")
    (_, grey), *_ = folder_data(folder).images("train")
    assert colour.shape[0] == 3
    torch.testing.assert_close(colour, grey.expand(3, -1, -1))


def test_evaluation_images_are_cropped_and_equal_sizes_share_a_batch(tmp_path):
    write(tmp_path / "train" / "t.png", 20, 20)
    for i, height in enumerate((16, 17, 25)):
        write(tmp_path / "validation" / f"{i}.png", height, 20)
    write(tmp_path / "test" / "s.png", 33, 20)
    roots = {f"{s}_root": str(tmp_path / s) for s in ("validation", "test")}
    data = folder_data(tmp_path / "train", **roots)
    shapes = [tuple(batch.images.shape) for batch in data.evaluation_loader("validation")]
    assert shapes == [(2, 1, 16, 16), (1, 1, 24, 16)]
    assert [x.shape for _, x in data.images("test")] == [(1, 32, 16)]
    assert [b.index.tolist() for b in data.evaluation_loader("test")] == [[0]]


def test_the_fingerprint_depends_on_the_content_only(folder, tmp_path):
    before = folder_data(folder).fingerprint()
    assert folder_data(folder, seed=5, crop=8).fingerprint() == before
    moved = folder.rename(tmp_path / "elsewhere")
    assert folder_data(moved).fingerprint() == before


@pytest.mark.parametrize("change", ["bytes", "name", "added", "split"])
def test_the_fingerprint_changes_with(change, folder, tmp_path):
    before = folder_data(folder).fingerprint()
    changes = {}
    if change == "bytes":
        write(folder / "0.png", 20, 30, seed=99)
    elif change == "name":
        (folder / "0.png").rename(folder / "7.png")
    elif change == "added":
        write(folder / "8.png", 20, 30, seed=8)
    else:
        write(tmp_path / "other" / "9.png", 20, 30, seed=9)
        changes = {"test_root": str(tmp_path / "other")}
    assert folder_data(folder, **changes).fingerprint() != before


def test_workers_do_not_change_batches_or_global_generators(folder):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    alone = list(folder_data(folder).train_loader())
    assert torch.equal(state, torch.get_rng_state())
    shared = list(folder_data(folder, workers=2).train_loader())
    assert len(alone) == len(shared) > 0
    for a, b in zip(alone, shared, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.index, b.index)
        assert a.epoch == b.epoch


@pytest.mark.parametrize("workers", [0, 2])
def test_lightning_sets_each_epoch(workers, tmp_path):
    data = EmbeddedData(seed=7, crop=8, batch_size=8, crops_per_image=2, workers=workers)
    recorder = train(tmp_path, DataModule(data), 6)
    expected = [b for e in range(3) for b in TrainBatches(16, 8, 7).batches(e)]
    assert [(e, i) for e, i, _ in recorder.seen] == [(b[0][0], [k[1] for k in b]) for b in expected]
    assert recorder.validated == [(0, [0, 1])] * 3


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [4, 5])
def test_a_resumed_run_gets_the_batches_of_an_uninterrupted_one(stop, workers, tmp_path):
    """At the end of an epoch (step 4) and in the middle of one (step 5)."""
    data = {"seed": 7, "crop": 8, "batch_size": 8, "crops_per_image": 4, "workers": workers}
    whole = train(tmp_path, DataModule(EmbeddedData(**data)), 12, save_at=stop)
    resumed = train(tmp_path, DataModule(EmbeddedData(**data)), 12, resume=tmp_path / "state.ckpt")
    assert resumed.seen == whole.seen[stop:]
    assert torch.equal(resumed.weight, whole.weight)


def test_no_worker_outlives_a_training(tmp_path):
    """In the middle of an epoch, too, and where something still refers to the trainer."""
    before = multiprocessing.active_children()
    data = EmbeddedData(seed=0, crop=8, crops_per_image=4, workers=2)
    recorder = train(tmp_path, DataModule(data), 3)
    assert recorder.trainer is not None
    left = [one for one in multiprocessing.active_children() if one not in before]
    assert left == []


def test_after_a_fit_the_loader_starts_over(tmp_path):
    data = EmbeddedData(seed=0, crop=8, batch_size=8, crops_per_image=2)
    images = DataModule(data)
    train(tmp_path, images, 2)
    assert len(list(images.train_dataloader())) == 2
