"""`unfold check`, `unfold explain` and `unfold doctor`: what they say of a configuration."""

import re
import sys
import warnings
from pathlib import Path

import pytest

from unfold import testing
from unfold.cli.check import ROWS
from unfold.cli.console import guarded
from unfold.cli.explain import describe
from unfold.cli.main import dispatch
from unfold.priors.tikhonov import Tikhonov
from unfold.testing.report import ENDED


def run(capsys, *words: str) -> tuple[int, str]:
    code = guarded(dispatch, words)
    said = capsys.readouterr()
    return code, said.out + said.err


def test_check_prints_every_property_with_its_figure(capsys):
    code, said = run(capsys, "check", "physics=denoising")
    assert code == 0
    assert "PH1 A* = Aᴴ (Frobenius)" in said and "BROKEN" not in said
    assert "1 component has all its properties" in said


@pytest.mark.parametrize("words", [("prior=tv_box",), ("fidelity=huber",), ("algo=gd",)])
def test_check_takes_a_component_of_any_group(capsys, words):
    code, said = run(capsys, "check", *words)
    assert code == 0 and "holds" in said


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("loss=mse",), ("LO1", "LO2", "LO3")),
        (("loss=splitting",), ("LO1", "LO2")),
        (("start=regularised",), ("ST1", "ST2")),
        (("start=spectral",), ("start=spectral physics=phase_retrieval fidelity=amplitude: 4",)),
        (
            ("start=filtered_back_projection", "physics=fan_beam_tomography", "--only=ST1"),
            ("start=filtered_back_projection: 1", "physics=fan_beam_tomography: ST1 does not"),
        ),
    ],
)
def test_check_measures_a_start_and_a_loss_with_a_forward_model(capsys, words, shown):
    code, said = run(capsys, "check", *words)
    assert code == 0 and all(text in said for text in shown)
    assert words != ("loss=splitting",) or "LO3" not in said


def test_check_fails_where_a_property_is_violated(capsys, monkeypatch):
    monkeypatch.setattr(Tikhonov, "grad", lambda self, x: 2 * x)
    code, said = run(capsys, "check", "prior=tikhonov")
    assert code == 1
    assert "BROKEN" in said and "Tikhonov violates a property:" in said


def test_check_needs_something_to_check(capsys):
    code, said = run(capsys, "check", "seed=1")
    groups = ("algo", "data", "fidelity", "loss", "model", "physics", "prior", "start")
    assert code == 2 and ", ".join(f"{group}=NAME" for group in groups) in said


def test_explain_has_the_update_its_names_and_where_it_converges(capsys):
    code, said = run(capsys, "explain", "algo=condat_vu", "prior=tv", "physics=gaussian_blur")
    assert code == 0
    for words in (
        "minimises  f + λg over the images in [low, high]",
        "∇f(x) = A*Ax − A*y",
        "algo.stepsize = 0.95 · 1/‖A‖² = ",
        "with the values above, they lie in it.",
    ):
        assert words in said


def test_explain_says_what_cannot_act_and_what_is_out_of_range(capsys):
    code, said = run(capsys, "explain", "algo=pgd", "algo.stepsize=3")
    assert code == 0 and "they do NOT lie in it" in said
    assert "note: algo.lambda_reg cannot be learned: prior PnP takes no weight" in said
    code, said = run(capsys, "explain", "algo=davis_yin", "prior=tv_box")
    assert code == 0 and "prior.terms.0.weight = 1   (learned; zero or positive)" in said
    code, said = run(capsys, "explain", "algo=pgd,admm", "-m")
    assert code == 2 and "unfold explain takes one configuration, got 2" in said


def test_doctor_lists_what_is_learned_with_its_gradient(capsys):
    small = ("model.iterations=2", "prior.weights=null", "prior.denoiser.width=4", "data.crop=16")
    code, said = run(capsys, "doctor", "trainable.learn=[algo.*,prior.*]", *small)
    assert code == 0
    assert "algo.stepsize" in said and "prior.denoiser" in said and "learns" in said
    assert "note: algo.lambda_reg cannot be learned" in said


def test_doctor_prints_the_measured_lipschitz_constant_of_an_equilibrium(capsys):
    small = (
        "prior.denoiser.width=4",
        "prior.denoiser.depth=3",
        "data.crop=16",
        "physics=denoising",
    )
    for prior, most in (("averaged", 1.001), ("dncnn", 9.0)):
        weights = "prior.weights=null"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nothing keeps the second one nonexpansive
            code, said = run(capsys, "doctor", "model=deq", f"prior={prior}", weights, *small)
        found = re.search(r"measured Lipschitz constant of the prior: ([\d.]+),", said)
        assert code == 0 and found is not None and 0.5 < float(found[1]) < most
    assert "measured" not in run(capsys, "doctor", "prior=tv", "data.crop=16")[1]


def test_doctor_counts_what_is_learned_alone(capsys):
    code, said = run(capsys, "doctor", "trainable.learn=[algo.stepsize]", "data.crop=16")
    assert code == 0 and "learnable names: 1; numbers behind them: 1." in said


def test_doctor_refuses_what_learns_nothing(capsys):
    code, said = run(capsys, "doctor", "model=classical", "prior=tv")
    assert code == 2 and "nothing is learned" in said


def test_explain_lists_what_each_setting_accepts(capsys):
    from unfold.cli.explain import explain

    assert explain(["model=deq", "physics=gaussian_blur"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    sigma = "(zero or positive, in units of an image in [0, 1], at most 16"
    assert f"physics.noise.sigma = 0.02 {sigma}" in shown
    assert "model.solver.mixing = 1.0 (in (0, 1]) β in (0, 1]" in shown
    assert "start.weight = 0.02 (positive) ε relative to" in shown


def test_the_docstring_of_an_algorithm_is_read():
    from unfold.algorithms.pgd import PGD

    described = describe(PGD)
    assert list(described.arguments) == ["stepsize", "lambda_reg"]
    assert described.formula.startswith("x⁺ = prox_")
    assert described.source.startswith("Combettes and Wajs")


def test_a_warning_is_shown_without_the_code_that_made_it(capsys):
    def warns(words):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("the lake is cold", stacklevel=1)
        return 0

    before = warnings.formatwarning
    with warnings.catch_warnings():
        warnings.showwarning = lambda *warning: sys.stdout.write(warnings.formatwarning(*warning))
        assert guarded(warns, ()) == 0
    assert capsys.readouterr().out.strip() == "warning: the lake is cold"
    assert warnings.formatwarning is before


def test_a_warning_with_other_figures_is_counted_not_repeated(capsys):
    def warns(words):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            for degrees in (4, 3.5, 1e-3):
                warnings.warn(f"the lake has {degrees} degrees", stacklevel=1)
            for _ in range(2):
                warnings.warn("the sea is cold", stacklevel=1)
        return 0

    with warnings.catch_warnings():
        warnings.showwarning = lambda *warning: sys.stderr.write(warnings.formatwarning(*warning))
        assert guarded(warns, ()) == 0
    assert capsys.readouterr().err.splitlines() == [
        "warning: the lake has 4 degrees",
        "warning: the sea is cold",
        "warning: 2 more, with these or other figures: the lake has 4 degrees",
        "warning: 1 more, with these or other figures: the sea is cold",
    ]


@pytest.mark.parametrize("words", [("--only", "PH1,PH9"), ("--only=PH1,PH9",)])
def test_check_measures_the_rows_that_are_asked_for(capsys, words):
    code, said = run(capsys, "check", "physics=denoising", *words)
    assert code == 0 and "PH1 A* = Aᴴ" in said and "PH9 batch invariance" in said
    assert not re.search(r"PH(?!1 |9 )\d", said)


def test_check_says_where_rows_do_not_apply(capsys):
    code, said = run(capsys, "check", "physics=denoising", "prior=l1", "--only", "PH13,PR2")
    assert code == 0 and "physics=denoising: PH13, PR2 do not apply." in said
    assert "prior=l1: " in said and "1 component has all its properties" in said
    code, said = run(capsys, "check", "physics=denoising", "--only=PH13")
    assert code == 0 and said.split("\n") == ["physics=denoising: PH13 does not apply.", ""]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("physics=denoising", "--only", "PH99"), "--only PH99: no such row, did you mean 'PH9'?"),
        (("prior=tv", "--only", "PH1"), "--only PH1: no such row, did you mean 'PR1'? Available: "),
        (("physics=denoising", "--only"), "--only: give it a value, rows of the kit, PH1,PH9."),
        (("--only", "physics=denoising"), "--only: give it rows of the kit, --only PH1,PH9."),
    ],
)
def test_check_refuses_rows_that_it_does_not_have(capsys, words, message):
    code, said = run(capsys, "check", *words)
    assert code == 2 and message in " ".join(said.split())


def test_the_rows_of_the_kits_are_those_that_can_be_asked_for():
    written = "".join(file.read_text() for file in Path(testing.__file__).parent.glob("*.py"))
    found = set(re.findall(r'"([A-Z]{2}\d+)"', written)) - {ENDED}
    assert found == {row for rows in ROWS.values() for row in rows}


def test_explain_lists_the_stages_and_names_a_set_that_was_widened(capsys):
    words = ("trainable.untied=[algo.*]", "stages=list", "trainable.widen={algo.stepsize: [-1, 2]}")
    plan = (
        "stages.stages=[{steps: 3, iterations: 2, at: last}, {steps: 4, factor: 0.1, older: 0.5}]"
    )
    code, said = run(capsys, "explain", *words, plan)
    assert code == 0
    assert "learned, one per iteration; in [-1, 2], WIDENED: it is declared positive" in said
    for line in (
        "stages     2, of 7 steps together",
        "1: 3 steps; 2 iterations, learned at last",
        "2: 4 steps; 5 iterations, learned at all",
        "algo.stepsize: rate 9.375e-06 to 0.00015",
    ):
        assert line in said
