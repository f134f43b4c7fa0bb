"""Conditions and baselines that the physics chooses; no condition twice."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from tests.evaluation.test_across_operators import TV, Pictures, baselines, context, network
from unfold.config.build import configure
from unfold.errors import ConfigError
from unfold.evaluation.across_operators import AcrossOperators, distinct
from unfold.evaluation.base import Condition, batches, evaluate, measure
from unfold.evaluation.baselines import tikhonov
from unfold.evaluation.records import Row, competitive, read_rows
from unfold.evaluation.report import methods_table
from unfold.models.classical import Classical
from unfold.physics.blur.blur import Blur
from unfold.physics.blur.kernels import GaussianKernel
from unfold.physics.denoising import Denoising
from unfold.physics.inpainting import Inpainting
from unfold.physics.noise.base import Gaussian
from unfold.runs.identity import identity


def conditions(*words):
    found = configure([*words, "evaluation=auto"]).components
    return [(c.name, c.noise) for c in found.evaluation.conditions(found.physics, "own")]


def names(*words):
    return [name.removeprefix("own with ") for name, _ in conditions(*words)]


def test_photographs_are_tested_across_operators_and_no_condition_twice():
    found = conditions("physics=motion_blur")
    assert found[0] == ("own", "as trained") and ("motion_blur", "0.02") not in found
    assert len(found) == 10 and ("inpainting", "0.05") in found
    assert ("motion_blur", "0.02") in conditions("physics=inpainting")
    same = [Condition(str(i), "x", Denoising(Gaussian(s))) for i, s in enumerate((0.1, 0.1, 0.2))]
    assert [one.name for one in distinct(same)] == ["0", "2"]


def test_mri_over_masks_and_accelerations_with_its_coils():
    found = names("physics=multicoil_mri", "physics.coils=6")
    assert {"acceleration 2", "acceleration 8", "EquispacedColumns", "RandomColumns"} <= {*found}
    made = configure(["physics=multicoil_mri", "physics.coils=6"]).components.physics
    assert {one.coils for one in made.variants().values()} == {6}
    assert made.variants()["acceleration 8"].mask.acceleration == 8


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["physics=tomography"], ["angles 30", "angles 120"]),
        (["physics=compressed_sensing"], ["ratio 0.125", "ratio 0.5"]),
        (["physics=block_compressed_sensing"], ["ratio 0.125", "ratio 0.5"]),
        (["physics=compressed_sensing", "physics.ratio=0.7"], ["ratio 0.35"]),
        (["physics=spectral_imaging", "data=folder", "data.channels=3", "data.root=x"], []),
    ],
)
def test_other_modalities(words, expected):
    assert names(*words) == ["own", *expected, "own", "own"]


def test_a_dose_or_a_level_is_halved_and_doubled():
    assert [n for _, n in conditions("physics=tomography", "physics.angles=9")[3:]] == [
        "sigma 0.01",
        "sigma 0.04",
    ]
    amplitudes = ("fidelity=amplitude", "start=spectral", "algo=gd", "prior=red")
    assert len(conditions("physics=phase_retrieval", *amplitudes)) == 3


@dataclass(frozen=True)
class Own(Denoising):
    """A user's physics joins by one line."""

    photographic = False
    gain: float = 2.0
    varied: ClassVar = ("gain",)
    baselines: ClassVar = ("wiener",)


def test_a_physics_of_the_user_says_what_is_varied_and_compared(tmp_path):
    suite = AcrossOperators({"other": Inpainting(Gaussian(0.1))}, (0.1,), TV, by_physics=True)
    scores = evaluate(suite, context(tmp_path / "r/s/n", Own(Gaussian(0.1)), trained_on="own"))
    rows = read_rows(tmp_path / "r/s/n/evaluation/rows.csv")
    assert {r.tested_on for r in rows} == {"own", "own with gain 1", "own with gain 4"}
    assert {r.method for r in rows} == {"ours", "wiener"} and "test/tv psnr" not in scores


def test_baselines_are_switched_off_and_unknown_ones_named(tmp_path):
    off = AcrossOperators({}, (), TV, baselines=())
    evaluate(off, context(tmp_path / "r/s/n"))
    assert {r.method for r in read_rows(tmp_path / "r/s/n/evaluation/rows.csv")} == {"ours"}
    with pytest.raises(ConfigError, match=r"unknown baseline 'wienr', did you mean 'wiener'"):
        AcrossOperators({}, baselines=("wienr",))


def test_more_conditions_than_fit_are_refused_before_training():
    levels = tuple(0.01 + i / 1e4 for i in range(301))
    physics = Denoising(Gaussian(0.1))
    with pytest.raises(ConfigError, match=r"302 conditions, of at most 300"):
        AcrossOperators({"a": physics}, levels).check(network(), physics, None)


def test_wiener_is_the_filter_of_fourier_and_tuned_on_validation(tmp_path):
    physics = Blur(Gaussian(0.05), GaussianKernel(5, 1.0))
    batch = next(batches(Pictures().examples("test")))
    y, operator, _ = measure(physics, batch, 0, "test")
    weights, lam = torch.full((len(y),), 0.03), 0.03
    found = tikhonov(y, operator, weights, Classical()).image
    h = torch.zeros(16, 16, dtype=torch.float64)
    h[:5, :5] = operator.kernel[0, 0].double()
    spectrum = torch.fft.fft2(h.roll((-2, -2), (0, 1)))
    filtered = spectrum.conj() / (spectrum.abs() ** 2 + lam) * torch.fft.fft2(y.double())
    assert torch.allclose(found.double(), torch.fft.ifft2(filtered).real, atol=1e-4)
    tuned = baselines(tmp_path).tuned("wiener", physics)
    assert tuned.weight == max(tuned.tried, key=lambda pair: pair[1])[0] and len(tuned.images) == 3
    assert {p.name.partition("-")[0] for p in tmp_path.iterdir()} == {"tikhonov"}


def test_a_pseudo_inverse_that_amplifies_noise_is_no_competitor():
    row = Row("r", "t", "blur", "0.1", "", 0, "", "a", "psnr", 0.0)
    every = {"back_projection": 20.0, "pseudo_inverse": -49.0, "ours": 30.0}
    rows = [replace(row, method=method, value=value) for method, value in every.items()]
    fine = [replace(one, tested_on="clean", value=abs(one.value)) for one in rows]
    kept = competitive([*rows, *fine], "psnr", higher=True)
    assert [(r.tested_on, r.method) for r in kept if r.method.startswith("ps")] == [
        ("clean", "pseudo_inverse")
    ]


@pytest.mark.parametrize(("metric", "bad", "good"), [("psnr", -49.0, 12.0), ("nmse", 80.0, 0.3)])
@pytest.mark.parametrize("others", [("ours",), ("tv", "ours")])
def test_without_a_back_projection_the_black_image_is_the_bound(metric, bad, good, others):
    row = Row("r", "t", "sensing", "0.1", "", 0, "", "a", metric, good)
    better = [replace(row, method=method) for method in others]
    inverse = replace(row, method="pseudo_inverse")
    kept = competitive([replace(inverse, value=bad), *better], metric, higher=metric == "psnr")
    assert [one.method for one in kept] == list(others)
    assert competitive([inverse, *better], metric, higher=metric == "psnr") == [inverse, *better]
    table = methods_table([replace(inverse, value=bad), *better])
    assert list(table.notes) == [
        "pseudo_inverse on sensing (0.1): left out, as it amplifies noise."
    ]
    assert "pseudo_inverse" not in table.columns and not methods_table(better).notes


def test_a_linear_solve_that_stops_early_has_not_converged(monkeypatch):
    """The solve is replaced by an image of known residual."""
    physics = Denoising(Gaussian(0.1))
    batch = next(batches(Pictures().examples("test")))
    y, operator, _ = measure(physics, batch, 0, "test")
    right, lam = y / (1 + 0.5), torch.full((len(y),), 0.5)
    assert tikhonov(y, operator, lam, Classical()).converged.all()
    off = torch.ones(len(y), 1, 1, 1)
    off[0] = 1.01
    monkeypatch.setattr(type(operator), "solve_normal", lambda *_, **__: off * right)
    found = tikhonov(y, operator, lam, Classical())
    assert found.converged.tolist() == [False, *[True] * (len(y) - 1)]
    assert float(found.residual[0]) > 0


def test_the_default_keeps_the_names_of_runs_and_the_matrix_has_its_own():
    config = {"evaluation": {"_target_": "a", "by_physics": True, "baselines": None}, "x": 1}
    before = {"evaluation": {"_target_": "a"}, "x": 1}
    explicit = {"evaluation": {"_target_": "a", "by_physics": False, "baselines": None}, "x": 1}
    assert identity(config, "d") == identity(before, "d") != identity(explicit, "d")
