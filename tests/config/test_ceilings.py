"""Counts that allocate processes, threads or memory are refused before anything starts."""

import time
from dataclasses import replace

import pytest

from tests.config.folder import refusal
from unfold.cli.sweeps.launch import take_launcher
from unfold.config.check import check_job
from unfold.config.compose import compose
from unfold.config.options import package_folder
from unfold.data.image_data import EmbeddedData
from unfold.errors import ConfigError
from unfold.machine import refusal as on_this_machine
from unfold.training.settings import TrainerSettings

TOO_MANY = [
    "data.workers=100000",
    "data.batch_size=1000000000",
    "data.evaluation_batch_size=1000000000",
    "data.crops_per_image=1000000000",
    "data.crop=1000000000",
    "data.multiple_of=1000000000",
    "trainer.devices=100000",
    "trainer.nodes=100000",
    "trainer.threads=100000",
    "trainer.shards=100000",
    "trainer.accumulate=100000000",
    "trainer.max_steps=1000000000000",
    "trainer.max_epochs=1000000000000",
    "model.iterations=1000000",
    "prior.denoiser.width=1000000",
    "prior.denoiser.depth=1000000",
    "prior.denoiser.channels=1000000",
]


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch):
    def started(*given, **named):
        pytest.fail("a process, a thread or a loader was started")

    for name in ("os.fork", "subprocess.Popen.__init__", "threading.Thread.start"):
        monkeypatch.setattr(name, started)
    monkeypatch.setattr("torch.utils.data.DataLoader.__init__", started)
    monkeypatch.setattr("torch.set_num_threads", started)


@pytest.mark.parametrize("word", TOO_MANY)
def test_a_count_that_would_fill_a_machine_is_refused(word):
    key, _, value = word.partition("=")
    begun = time.monotonic()
    text = refusal(word)
    assert f"{key} = {value}: must be at most " in text
    assert time.monotonic() - begun < 5


SIZES = {
    "tomography": ("physics.angles=1000000", "physics.detectors=100000000"),
    "multicoil_mri": ("physics.coils=1000000",),
    "phase_retrieval": ("physics.codes=1000000",),
    "random_phase_retrieval": ("physics.ratio=1e9",),
    "radial_mri": ("physics.trajectory.spokes=1000000", "physics.trajectory.oversampling=1e9"),
    "motion_blur": ("physics.kernel.size=1000001",),
}


@pytest.mark.parametrize("words", [(o, w) for o, words in SIZES.items() for w in words])
def test_sizes_of_an_operator_are_bounded(words, monkeypatch):
    from unfold.config import options

    shipped = options.package_folder().parent / "configs"
    for module in ("config.compose", "config.options"):
        monkeypatch.setattr(f"unfold.{module}.configs_folder", lambda: shipped)
    if words[0] not in options.names("physics", [shipped]):
        pytest.fail(f"no such option: {words[0]}")
    assert f"{words[1].partition('=')[0]} = " in refusal(f"physics={words[0]}", words[1])


@pytest.mark.parametrize("word", ["jobs=100000", "jobs=1000000000000"])
@pytest.mark.parametrize("launcher", ["parallel", "ray", "slurm"])
def test_jobs_of_a_launcher_are_bounded(launcher, word, monkeypatch):
    monkeypatch.setattr("unfold.launchers.launcher.find_spec", lambda name: True)
    if launcher in ("ray", "slurm") and word == "jobs=100000":
        pytest.skip("as many may wait in a queue")
    with pytest.raises(ConfigError, match=r"hydra\.launcher\.jobs = \d+: must be at most"):
        take_launcher([f"hydra/launcher={launcher}", f"hydra.launcher.{word}"])


@pytest.mark.parametrize("words", [["seed=range(0,1000000000000)"], ["seed=range(0,9999)"]])
def test_jobs_of_a_grid_are_bounded(words):
    words = ["-m", *words, "data.crop=16,32"]
    begun = time.monotonic()
    with pytest.raises(ConfigError, match="jobs: at most 10000"):
        compose(words)
    assert time.monotonic() - begun < 5


def test_processes_and_threads_are_bounded_by_this_machine(monkeypatch):
    monkeypatch.setattr("unfold.machine.available_cpus", lambda: 3)
    assert on_this_machine(12, 8, "processes") == ""
    assert "at most 12 processes on this machine, which has 3 CPUs" in on_this_machine(
        13, 8, "processes"
    )
    assert on_this_machine(64, 64, "threads") == ""
    for field in ("devices", "threads", "shards"):
        settings = TrainerSettings(strategy="ddp", **{field: 65})
        with pytest.raises(ConfigError, match=f"TrainerSettings.{field} = 65: must be at most"):
            settings.check_devices()
    data = EmbeddedData(seed=0, workers=13)
    for start in (data.check, data.train_loader, lambda: data.evaluation_loader("test")):
        with pytest.raises(ConfigError, match="workers = 13: must be at most 12 processes"):
            start()


@pytest.mark.parametrize("field", ["batch_size", "crops_per_image"])
def test_memory_is_bounded_by_what_is_free(field, monkeypatch):
    data = replace(EmbeddedData(seed=0), **{field: 10**6})
    monkeypatch.setattr("unfold.arrays.free_memory", lambda: 2**26)
    with pytest.raises(ConfigError, match=rf"{field} = 1000000: it takes \d+ bytes of memory"):
        data.check()


def test_large_numbers_that_allocate_nothing_are_kept():
    assert (
        refusal("seed=123456789012", "trainer.max_steps=5000000", "trainer.log_every=100000")
        == "accepted"
    )
    (job,) = compose(["model=deq", "model.max_iterations=1000000"]).jobs
    checked, problems = check_job(job)
    assert not problems
    assert checked.groups["model"].arguments["max_iterations"] == 10**6


PRODUCTS = {
    "a batch": (["data.batch_size=4096", "data.crop=4096"], "data.batch_size"),
    "lines": (
        ["physics=tomography", "physics.angles=2000", "physics.detectors=60000"],
        "physics.angles",
    ),
    "coils": (["physics=multicoil_mri", "physics.coils=2000", "data.crop=2048"], "physics.coils"),
    "a network": (["prior.denoiser.width=2048", "prior.denoiser.depth=2048"], "width"),
    "copies": (
        ["prior.denoiser.width=64", "model.iterations=9999", "trainable.untied=[prior.denoiser]"],
        "width",
    ),
}


@pytest.mark.parametrize(("words", "key"), PRODUCTS.values(), ids=PRODUCTS)
def test_counts_are_bounded_together_by_the_free_memory(words, key, monkeypatch):
    shipped = package_folder().parent / "configs"
    for module in ("config.compose", "config.options"):
        monkeypatch.setattr(f"unfold.{module}.configs_folder", lambda: shipped)
    monkeypatch.setattr("unfold.arrays.free_memory", lambda: 2**32)
    assert key in refusal(*words) and "bytes of memory, and 4294967296 are free" in refusal(*words)
    assert "Lower one of them." in refusal(*words)
    monkeypatch.setattr("unfold.arrays.free_memory", lambda: 2**60)
    (job,) = compose(words).jobs
    assert not check_job(job)[1]


def test_a_count_is_multiplied_once_and_not_with_that_of_another_component(monkeypatch):
    shipped = package_folder().parent / "configs"
    for module in ("config.compose", "config.options"):
        monkeypatch.setattr(f"unfold.{module}.configs_folder", lambda: shipped)
    monkeypatch.setattr("unfold.arrays.free_memory", lambda: 2**32)
    words = ["data=folder", "data.root=.", "data.crop=256", "evaluation.tv.crop=256"]
    (job,) = compose([*words, "physics=multicoil_mri", "physics.coils=8"]).jobs
    assert not check_job(job)[1]
