"""Searches: ranges, and draws that repeat themselves."""

import math
from functools import partial
from types import SimpleNamespace

import pytest

from unfold.cli.sweeps.search import _live, learn
from unfold.cli.train import expect_multirun, train
from unfold.config.compose import preset_of_sweep
from unfold.config.options import configs_folder
from unfold.config.sweep import Choice, Interval, Space, drawn, search_method, space_of
from unfold.errors import ConfigError

WORDS = [
    "seed=1",
    "optimizer.lr=tag(log,interval(1e-4,1e-2))",
    "algo=pgd,admm",
    "a=int(interval(2,5))",
]


def test_ranges_are_read_in_the_grammar_of_sweeps():
    space = space_of([*WORDS, "b=range(1,8,3)", "c=interval(0.5,1)", "d=range(3,1,-1)"])
    assert space.fixed == ("seed=1",)
    assert space.domains == {
        "optimizer.lr": Interval(1e-4, 1e-2, log=True),
        "algo": Choice(("pgd", "admm")),
        "a": Interval(2.0, 5.0, whole=True),
        "b": Interval(1.0, 7.0, whole=True, step=3),
        "c": Interval(0.5, 1.0),
        "d": Choice(("3", "2")),
    }
    assert search_method(["-m", "sweep=random"]) == "random"
    assert search_method(["sweep=optuna"]) is None


@pytest.mark.parametrize(
    ("word", "message"),
    [("seed=1", "A search needs a range"), ("a=tag(log,interval(0,1))", "be positive with a log")],
)
def test_ranges_that_cannot_be_meant_are_refused(word, message):
    with pytest.raises(ConfigError, match=message):
        space_of([word])


def test_draws_depend_on_the_seed_and_the_trial_alone():
    space = space_of(WORDS)
    trials = [drawn(space, 0, i) for i in range(2000)]
    assert trials[7] == drawn(space, 0, 7) != drawn(space, 1, 7)
    rates = [math.log10(float(trial["optimizer.lr"])) for trial in trials]
    assert -4 <= min(rates) < -3.99 and -2.01 < max(rates) <= -2
    assert abs(sum(rates) / len(rates) + 3) < 0.05, "uniform in the logarithm"
    assert {trial["a"] for trial in trials} == {"2", "3", "4", "5"}


def test_a_search_takes_its_settings_and_its_space_from_its_option():
    preset = preset_of_sweep(["-m", "sweep=optuna", "optimizer.lr=interval(1,2)"])
    assert preset.search == {"sweep.trials": "20", "sweep.startup": "5", "sweep.warmup": "5"}
    assert preset.overrides == [
        "model.iterations=range(2, 9)",
        "sweep=optuna",
        "optimizer.lr=interval(1,2)",
    ]


def test_random_trials_of_a_range_are_those_of_its_values():
    space = space_of(["a=range(1,10,3)"])
    values = Space((), {"a": Choice(("1", "4", "7"))})
    assert [drawn(space, 0, i) for i in range(50)] == [drawn(values, 0, i) for i in range(50)]


RATE, COUNT = "optimizer.lr=tag(log, interval(1e-4, 1e-2))", "model.iterations=range(2, 9)"


@pytest.mark.parametrize(
    ("words", "searched"),
    [
        ([], [RATE, COUNT]),
        (["~model.iterations"], [RATE]),
        (["model.iterations=4"], [RATE]),
        (["model=deq"], [RATE, "algo.lambda_reg=tag(log, interval(1e-3, 1.0))"]),
        (
            ["model=classical", "prior=tv"],
            [
                "algo.lambda_reg=tag(log, interval(1e-4, 1.0))",
                "algo.stepsize=tag(log, interval(0.2, 1.9))",
            ],
        ),
    ],
)
@pytest.mark.parametrize("method", ["optuna", "random"])
def test_every_model_has_its_own_ranges_which_are_replaced_or_taken_away(method, words, searched):
    found = preset_of_sweep(["-m", f"sweep={method}", *words]).overrides
    typed = [f"sweep={method}", *(text for text in words if not text.startswith("~"))]
    assert found == [*searched, *typed]
    left = preset_of_sweep(["-m", f"sweep={method}", *words], "none").overrides
    assert left == [f"sweep={method}", *words]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer.lrr: interval(1,2)\n", r"optimizer.lrr.*mine.yaml has a key of"),
        (None, r"sweep.ranges.*has no sweep/ranges/mine.yaml.*sweep.ranges=none"),
        ("prior.levels: interval(1,2)\nmodel.iterations: range(2,4)\n", None),
    ],
)
def test_ranges_of_no_key_or_file_are_refused_by_name(tmp_path, text, message):
    (tmp_path / "sweep/ranges").mkdir(parents=True)
    (tmp_path / "model").mkdir()
    own = (configs_folder() / "model/unfolded.yaml").read_text()
    (tmp_path / "model/mine.yaml").write_text(own)
    if text:
        (tmp_path / "sweep/ranges/mine.yaml").write_text(text)
    words = ["-m", f"--config-dir={tmp_path}", "sweep=random", "model=mine"]
    if message:
        with pytest.raises(ConfigError, match=message):
            preset_of_sweep(words)
    else:
        assert preset_of_sweep(words).overrides[0] == "model.iterations=range(2,4)"
    assert preset_of_sweep(words, "none").overrides == words[2:]


def test_a_grid_has_no_ranges_of_a_model():
    assert preset_of_sweep(["-m", "sweep=algorithms"]).overrides == [
        "algo=pgd,admm,pdhg",
        "model=unfolded,deq",
        "sweep=algorithms",
    ]


def test_ranges_that_cannot_act_are_left_out_or_refused_by_name(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    live = partial(_live, ["sweep=optuna", "model=classical"])
    space = live(space_of(["algo.lambda_reg=interval(0.1,1)", "algo.stepsize=interval(0.5,1)"]), [])
    assert list(space.domains) == ["algo.stepsize"]
    assert "algo.lambda_reg is not searched: prior PnP takes no weight" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"prior\.sigma: is searched and cannot act: DnCNN takes"):
        live(space_of(["prior.sigma=interval(0.1,1)"]), ["prior.sigma=interval(0.1,1)"])
    with pytest.raises(ConfigError, match=r"optimizer\.lr: .* nothing is trained"):
        live(space_of(["optimizer.lr=interval(0.1,1)"]), ["optimizer.lr=interval(0.1,1)"])
    with pytest.raises(ConfigError, match="No key is free"):
        live(space_of(["optimizer.lr=interval(0.1,1)"]), [])


def test_the_command_of_the_best_trial_is_a_line_that_can_be_copied(capsys):
    best = "best validation/psnr 31.4: a=1\nunfold evaluate run=R evaluation=auto"
    study = SimpleNamespace(made=0, running=0, best=best, objective="validation/psnr", name="n")
    learn(SimpleNamespace(study=study, run=lambda runs_dir: []), "runs")
    assert "unfold evaluate run=R evaluation=auto" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    "words",
    [
        ["sweep=random"],
        ["sweep=optuna", "model=deq"],
        ["sweep=optuna", "sweep.trials=3"],
        ["sweep=modes", "algo=pgd"],
        ["sweep=algorithms", "algo=admm"],
        ["+sweep=modes"],
    ],
)
def test_a_sweep_without_m_is_no_single_run(words):
    name = words[0].lstrip("+")
    with pytest.raises(ConfigError, match=f"^{name}: .*-m is missing.*train.py -m {name}"):
        train(words)
    expect_multirun(["-m", *words])


@pytest.mark.parametrize(
    "words",
    [
        ["sweep=random", "model.iterations=3"],
        ["sweep=modes", "experiment=mode_untied"],
        ["sweep=algorithms", "algo=admm", "model=deq"],
        ["sweep=null"],
        ["~sweep"],
        [],
    ],
)
def test_the_command_of_one_job_of_a_sweep_is_a_single_run(words):
    expect_multirun(words)
