"""Every mistake has one clear message: key, value, what is allowed, nearest name, remedy."""
# ruff: noqa: E501 (a table reads best with one case per line)

from pathlib import Path

import pytest

from tests.config.folder import checked, refusal
from unfold.config.build import verify
from unfold.config.compose import compose
from unfold.errors import ConfigError

CASES = {
    # typos
    "option": (["algo=pgdd"], "algo = pgdd: no such option, did you mean 'pgd'? Allowed: admm, pgd."),
    "key": (["algo.stepsiz=1"], "algo.stepsiz = 1: unknown key, did you mean 'stepsize'? Allowed:"),
    "plus": (["+algo.stepsise=2"], "algo.stepsise = 2: unknown key, did you mean 'stepsize'?"),
    "group": (["algoo=pgd"], "algoo = pgd: unknown key, did you mean 'algo'?"),
    "top": (["+sead=1"], "sead = 1: unknown key, did you mean 'seed'?"),
    "trainer": (["trainer.max_epoch=3"], "trainer.max_epoch = 3: unknown key, did you mean 'max_epochs'?"),
    "other option": (["algo.beta=1"], "algo.beta = 1: unknown key, 'beta' belongs to algo=admm."),
    "nested": (["prior.denoiser.wdth=1"], "prior.denoiser.wdth = 1: unknown key, did you mean 'width'?"),
    "trainable": (["trainable.lern=[a]"], "trainable.lern = [a]: unknown key, did you mean 'learn'?"),
    "experiment": (["experiment=quik"], "experiment = quik: no such option, did you mean 'quick'?"),
    "flag": (["--multi"], "--multi: unknown flag, did you mean '--multirun'? Allowed: --config-dir,"),
    # types
    "int as word": (["seed=abc"], "seed = abc: a whole number is expected."),
    "int as float": (["trainer.max_steps=2.5"], "trainer.max_steps = 2.5: a whole number is expected."),
    "int as bool": (["seed=true"], "seed = true: a whole number is expected."),
    "int as null": (["trainer.max_steps=null"], "trainer.max_steps = null: a whole number is expected."),
    "bool as word": (["strict=maybe"], "strict = maybe: true or false is expected."),
    "float as list": (["optimizer.lr=[1]"], "optimizer.lr = [1]: a number is expected."),
    "octal": (["optimizer.lr=0o17"], "optimizer.lr = 0o17: a number is expected."),
    "pair": (["optimizer.betas=[0.9]"], "optimizer.betas = [0.9]: a list of 2 values is expected."),
    "element": (["optimizer.betas=[a,1]"], "optimizer.betas[0] = a: a number is expected."),
    "literal": (["trainer.precision=16"], "trainer.precision = 16: one of 32, bf16, 64 is expected."),
    "component": (["prior.denoiser=3"], "prior.denoiser = 3: a block with _target_ (Denoiser) or a block with _target_ (PerIteration) is "
        "expected."),
    "wrong kind": (
        ["prior.denoiser={_target_: unfold.fidelities.l2.L2}"],
        "prior.denoiser = L2: a block with _target_ (Denoiser) or a block with _target_ (PerIteration) "
        "is expected.",
    ),
    "wrong group": (
        ["algo._target_=unfold.fidelities.l2.L2"],
        "algo = L2: a block with _target_ (Algorithm) is expected.",
    ),
    "constrain": (
        ["trainable.constrain={algo.stepsize: [0]}"],
        "trainable.constrain.algo.stepsize = [0]: a list of 2 values is expected.",
    ),
    "scalar": (["algo.stepsize=fast"], "algo.stepsize = fast: "),
    # ranges, by the constructors
    "negative": (["algo.stepsize=-1"], "algo.stepsize = -1"),
    "rate 0": (["optimizer.lr=0"], "optimizer.lr = 0.0: must be positive and finite."),
    "rate -1": (["optimizer.lr=-1"], "optimizer.lr = -1.0: must be positive and finite."),
    "rate nan": (["optimizer.lr=nan"], "optimizer.lr = nan: must be positive and finite."),
    "rate inf": (["optimizer.lr=inf"], "optimizer.lr = inf: must be positive and finite."),
    "no iteration": (["model.iterations=0"], "model.iterations = 0: must be at least 1."),
    "nested range": (["prior.denoiser.depth=1"], "prior.denoiser.depth = 1: must be at least 2."),
    "seed": (["seed=-1"], "seed = -1: must be a whole number of at least 0."),
    "devices": (["trainer.devices=2"], "trainer.devices = 2: several devices need strategy=ddp."),
    "endless": (["trainer.max_steps=-1"], "trainer.max_epochs = null: needed where max_steps=-1"),
    "name": (["name=../../evil"], "name = ../../evil: must be 1 to 80 letters"),
    "dots": (["name=.."], "name = ..: must be 1 to 80 letters"),
    "objective": (["objective=validation/pnsr"], "objective = validation/pnsr: is not measured, did you mean 'validation/psnr'?"),
    "schema": (["schema_version=0"], "schema_version = 0: this version of unfold reads 3"),
    "glob": (["trainable.learn=[algo.gamma]"], "'algo.gamma' matches nothing"),
    # words
    "empty": (["algo.stepsize="], "algo.stepsize = '': no value given. Write algo.stepsize=VALUE"),
    "twice": (["seed=1", "seed=2"], "seed: given 2 times (1, 2). Give it once."),
    "plus twice": (["seed=1", "++seed=2"], "seed: given 2 times (1, 2). Give it once."),
    "bracket": (["algo.stepsize=[1,2"], "algo.stepsize=[1,2: cannot be read as key=value: the [ at column 15 is not closed"),
    "no value": (["seed"], "seed: cannot be read as key=value: it has no ="),
    "no key": (["=3"], "=3: has no key."),
    "several": (["algo=pgd,admm"], "algo = pgd,admm: several values. Add -m to run each of them"),
    "list": (["algo=[pgd,admm]"], "algo = [pgd,admm]: one option is expected, got a list."),
    "null option": (["algo=null"], "algo = null: no such option. Allowed: admm, pgd."),
    "deleted": (["~algo"], "algo: no option is chosen. Allowed: admm, pgd."),
    "delete": (["~nothing"], "~nothing: there is no such key to delete. Leave it out"),
    "delete in a group that is chosen": (["model=deq", "~model.wrong"], "~model.wrong: there is no such key to delete"),
    "delete what ends as a chosen group": (["model=deq", "~some.model"], "~some.model: there is no such key to delete"),
    "hydra": (["hydra.run.dir=x"], "hydra.run.dir = x: has no effect"),
    "launcher": (["hydra/launcher=joblib"], "hydra/launcher = joblib: has no effect"),
    "empty sweep": (["-m", "seed=range(0,0)"], "seed=range(0,0): an empty sweep, no job to run."),
    "interval": (["-m", "optimizer.lr=interval(0,1)"], "a grid needs a list of values, got an interval"),
    "one of many": (["-m", "algo=pgd,admmm"], "algo = admmm: no such option, did you mean 'admm'?"),
    "value of many": (["-m", "optimizer.lr=0.1,-1"], "optimizer.lr = -1.0: must be positive and finite."),
    # values that are not there
    "missing": (["model.iterations=???"], "model.iterations = ???: must be given. Write model.iterations="),
    "interpolation": (["name=${nothing.here}"], "name = ${nothing.here}: cannot be resolved: "),
    "required": (["~prior.denoiser"], "prior.denoiser: must be given: PnP needs it."),
    # code
    "missing target": (["algo._target_=???"], "algo._target_ = ???: must be given. Write"),
    "unresolved target": (
        ["algo._target_=${x}"],
        "algo._target_ = ${x}: cannot be resolved: the configuration has no key x.",
    ),
    "own field": (["+physics.learned={}"], "physics.learned: unknown key."),
    "target": (["+prior.denoiser._target_2=x"], "prior.denoiser._target_2 = x: is not supported."),
    "untrusted": (["algo._target_=mine.Mine"], "If you trust the package, add trust=[mine] to the command"),
    "args": (["+algo._args_=[1]"], "algo._args_ = [1]: is not supported. Allowed: _target_, _partial_"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "message"), CASES.values(), ids=CASES.keys())
def test_a_mistake_is_named(words, message):
    assert message in refusal(*words)
    assert "\n" not in refusal(*words), "one mistake is one line"
    assert not list(Path.cwd().iterdir()), "a mistake leaves nothing behind"


def test_all_mistakes_are_listed_at_once():
    text = refusal("algo=pgdd", "seed=x", "trainer.max_step=3", "optimizer.lr=-1", "name=a/b", "a=")
    assert text.startswith("6 problems in the configuration\n")
    for key in (
        "algo = pgdd",
        "seed = x",
        "trainer.max_step",
        "optimizer.lr",
        "name = a/b",
        "a = ''",
    ):
        assert f"\n  {key}" in text


def test_all_jobs_of_a_sweep_are_checked():
    text = refusal("-m", "seed=0,-1,x", "algo=pgd,admm", "optimizer.lr=1e-3,0")
    assert text.startswith("3 problems in the configuration\n")


def test_a_typo_in_a_file_is_found_with_its_line(tmp_path):
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer/mine.yaml").write_text(
        "# mine\n_target_: unfold.training.optim.Adam\nlearing_rate: 1e-3\n"
    )
    text = refusal(f"--config-dir={tmp_path}", "optimizer=mine")
    assert "optimizer.learing_rate = 0.001: unknown key" in text
    assert text.endswith("optimizer/mine.yaml:3)")


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "algo").mkdir()
    (tmp_path / "algo/mine.yaml").write_text("a: [1\n")
    assert "mine.yaml" in refusal(f"--config-dir={tmp_path}", "algo=mine")


def test_a_file_with_a_packaged_name_is_refused_because_it_would_not_be_used(tmp_path):
    (tmp_path / "algo").mkdir()
    (tmp_path / "algo/pgd.yaml").write_text("_target_: unfold.algorithms.pgd.PGD\n")
    assert "has the name of a packaged option" in refusal(f"--config-dir={tmp_path}")


def test_a_missing_folder_of_options_is_named():
    assert "--config-dir nowhere: no such folder" in refusal("--config-dir", "nowhere")


def test_an_argument_that_the_file_leaves_out_may_be_given():
    (job,) = checked("algo.lambda_reg=0.5")
    assert job.groups["algo"].arguments["lambda_reg"] == 0.5


def test_thirty_two_bits_may_be_written_as_a_number():
    (job,) = checked("trainer.precision=32")
    assert job.groups["trainer"].arguments["precision"] == "32"


def test_the_configuration_as_shipped_is_accepted():
    assert refusal() == "accepted"
    assert refusal("experiment=quick") == "accepted"
    assert refusal("trainer=ddp_cpu", "optimizer=adamw", "scheduler=constant") == "accepted"
    assert refusal("optimizer=sgd", "logger=none", "trainable=untied") == "accepted"
    assert refusal("trainer=ddp", "trainer.on_nonfinite=skip") == "accepted"


@pytest.mark.parametrize(
    ("overrides", "count"),
    [
        (["algo.stepsiz=1", "seed=-1"], 2),
        (["algo.stepsiz=1", "algo.stepsize=x"], 2),
        (["algo.stepsiz=1", "prior=dncn"], 2),
        (["algo.stepsiz=1", "prior.weigths=1", "trainer.max_step=1", "seed=x"], 4),
    ],
)
def test_a_typo_hides_no_other_mistake(overrides, count):
    with pytest.raises(ConfigError, match=f"^{count} problems in the configuration"):
        verify(compose(overrides))
