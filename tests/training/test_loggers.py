"""Trackers: each value once, also of a training that was killed and continues."""

import csv
import importlib.util
import json
import sys
from collections import Counter
from types import ModuleType
from unittest.mock import MagicMock

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.small import KilledError, killed_at, small_data, small_settings, small_training
from unfold.errors import ConfigError
from unfold.training.callbacks import save_picture
from unfold.training.checkpoints.checksum import newest_checkpoint
from unfold.training.fit import fit
from unfold.training.loggers.local import Events
from unfold.training.loggers.trackers import MLflow, Tracked, WandB
from unfold.training.settings import TensorBoard

STEPS = 6


def needs(package):
    return pytest.mark.skipif(
        importlib.util.find_spec(package) is None, reason=f"{package} is not installed"
    )


def train(directory, log, kill=None, every=2):
    """Train, and die in step `kill`; a state is saved `every` so many steps."""
    directory.mkdir(parents=True, exist_ok=True)
    training = small_training() if kill is None else killed_at(kill)
    found = newest_checkpoint(directory / "checkpoints").path
    settings = small_settings(STEPS, checkpoint_every=every, images_every=1)
    given = {"objective": "validation/psnr", "resume_from": found}
    if kill is None:
        return fit(training, small_data(), settings, log, directory, **given)
    with pytest.raises(KilledError):
        fit(training, small_data(), settings, log, directory, **given)
    return None


def killed_twice(directory, log):
    """In step 3, from where it goes back to 2, and in step 5, back to 4."""
    for kill in (3, 5, None):
        train(directory, log, kill)


def losses(directory):
    with (directory / "metrics.csv").open() as file:
        rows = {int(r["step"]): r.get("train/loss") for r in csv.DictReader(file)}
    return {step: float(value) for step, value in rows.items() if value}


def test_tensorboard_has_each_step_once(tmp_path):
    killed_twice(tmp_path / "cut", TensorBoard())
    train(tmp_path / "uninterrupted", TensorBoard())
    read = []
    for name in ("cut", "uninterrupted"):
        events = EventAccumulator(str(tmp_path / name / "tensorboard"))
        events.Reload()
        read.append([(one.step, one.value) for one in events.Scalars("train/loss")])
    assert read[0] == read[1]
    assert [step for step, _ in read[0]] == list(range(STEPS))


def test_without_the_purge_steps_are_duplicated(tmp_path, monkeypatch):
    monkeypatch.setattr(Events, "cut", lambda self, step: None)
    killed_twice(tmp_path, TensorBoard())
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    counts = Counter(one.step for one in events.Scalars("train/loss"))
    assert counts[2] == 2


class Box(Tracked):
    """A tracker that is a list."""

    def begin(self, run):
        return run or "new"

    def send(self, metrics, step):
        lines = [f"{json.dumps([step, name, value])}\n" for name, value in metrics.items()]
        with (self.directory / "box").open("a") as file:
            file.writelines(lines)

    def send_picture(self, path, step):
        with (self.directory / "pictures").open("a") as file:
            file.write(f"{step} {path.relative_to(self.directory)}\n")


class BoxLog(TensorBoard):
    def build(self, directory):
        return Box(directory, "box")


def test_a_tracker_is_sent_each_value_once(tmp_path):
    killed_twice(tmp_path, BoxLog())
    sent = [json.loads(line) for line in (tmp_path / "box").read_text().splitlines()]
    assert max(Counter((step, name) for step, name, _ in sent).values()) == 1
    found = {step: value for step, name, value in sent if name == "train/loss"}
    assert found == pytest.approx(losses(tmp_path)) and len(found) == STEPS
    assert json.loads((tmp_path / "box.json").read_text())["run"] == "new"


def test_a_tracker_is_sent_each_picture_once(tmp_path):
    for kill in (5, None):  # it continues from step 3, before the validation of the first epoch
        train(tmp_path, BoxLog(), kill, every=3)
    with (tmp_path / "metrics.csv").open() as file:
        first = next(int(r["step"]) for r in csv.DictReader(file) if r["validation/psnr"])
    sent = (tmp_path / "pictures").read_text().splitlines()
    assert sent == [f"{first} images/{first + 1:07d}.png"]


def stand_in(monkeypatch, name, **content):
    """A module instead of one that may not be installed."""
    module = ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def picture(tmp_path, monkeypatch):
    """A picture file in a run directory, for trackers whose package need not be there."""
    monkeypatch.setattr("unfold.training.loggers.trackers.require", lambda package: None)
    path = tmp_path / "pgd/one/images/0000003.png"
    path.parent.mkdir(parents=True)
    save_picture(torch.tensor([[[0.0, 0.2, 1.0]]]), path)
    return path


def show_twice(log, path):
    """Once, and again in the process that continues."""
    for _ in range(2):
        logger = log.build(path.parents[1])
        logger.show(path, 2)
        logger.log_metrics({"validation/psnr": 20.0}, 2)
        logger.finalize("success")


def test_mlflow_is_sent_pictures_by_its_own_method(picture, monkeypatch):
    client = MagicMock()
    client.create_run.return_value.info.run_id = "r"
    shown = []
    client.log_image = lambda run, image, key, step: shown.append(
        (run, list(image.tobytes()), key, step)
    )
    stand_in(monkeypatch, "mlflow")
    stand_in(monkeypatch, "mlflow.entities", Metric=MagicMock(), Param=MagicMock())
    stand_in(monkeypatch, "mlflow.tracking", MlflowClient=lambda uri: client)
    show_twice(MLflow(), picture)
    assert shown == [("r", [0, 51, 255], "validation", 2)]


def test_wandb_is_sent_pictures_by_its_own_method(picture, monkeypatch):
    run = MagicMock()
    init, settings = (lambda **_: run), MagicMock()
    stand_in(monkeypatch, "wandb", init=init, Settings=settings, Image=lambda path: ("of", path))
    show_twice(WandB(), picture)
    assert [(call.args[0], call.kwargs["step"]) for call in run.log.call_args_list] == [
        ({"validation": ("of", str(picture))}, 2),
        ({"validation/psnr": 20.0}, 2),
    ], "at the step of the row that follows: W&B takes none that is past"


def test_settings_are_sent_by_their_full_keys(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 1\nalgo: {beta: 0.5, names: [a, b]}\n")
    settings = Box(tmp_path, "box").settings()
    assert settings == {"seed": "1", "algo.beta": "0.5", "algo.names": "['a', 'b']"}


@pytest.mark.parametrize("log", [MLflow, WandB])
def test_a_missing_package_is_refused_at_once(log, monkeypatch):
    monkeypatch.setattr("unfold.training.loggers.trackers.find_spec", lambda name: None)
    name = log.__name__.lower()
    with pytest.raises(ConfigError, match=rf"package {name}\. Run pip install -e '.\[{name}\]"):
        log()


@needs("mlflow")
@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_each_step_once(tmp_path):
    from mlflow.tracking import MlflowClient

    directory = tmp_path / "pgd-dncnn/one"
    killed_twice(directory, MLflow())
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("unfold").experiment_id])
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert {one.step: one.value for one in history} == pytest.approx(losses(directory))
    assert len(history) == STEPS and run.info.status == "FINISHED"
    assert run.info.run_name == "pgd-dncnn/one"


@needs("wandb")
@pytest.mark.filterwarnings("ignore")
def test_wandb_writes_offline_files_of_one_run(tmp_path):
    directory = tmp_path / "pgd-dncnn/one"
    killed_twice(directory, WandB())
    folders = sorted((directory / "wandb").glob("offline-run-*"))
    assert folders and all("-pgd-dncnn-one" in folder.name for folder in folders)
    assert json.loads((directory / "wandb.json").read_text())["step"] == STEPS


def test_a_password_is_not_written_into_runs(monkeypatch):
    monkeypatch.setattr("unfold.training.loggers.trackers.require", lambda package: None)
    with pytest.raises(
        ConfigError, match=r"MLflow\.uri contains a password.*MLFLOW_TRACKING_PASSW"
    ) as e:
        MLflow("https://me:s3cret@server")
    assert "s3cret" not in str(e.value)
    MLflow("https://server")
