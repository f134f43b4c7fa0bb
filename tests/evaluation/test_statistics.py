"""Intervals and tests of means over images, held to SciPy."""

import numpy as np
import pytest

from unfold.evaluation.statistics import RESAMPLES, Interval, bootstrap, justified, paired, wilcoxon
from unfold.random import generator

stats = pytest.importorskip("scipy.stats")
SIZES = (5, 6, 13, 14, 25, 50, 51, 68)


@pytest.mark.parametrize("count", SIZES)
def test_the_interval_is_that_of_scipy_from_the_same_draws(count):
    values = np.random.default_rng(count).normal(27, 2, count)
    expected = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=generator("bootstrap", count),
    ).confidence_interval
    found = bootstrap(values.tolist())
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-12)
    assert bootstrap(values.tolist()) == found and found.images == count


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("digits", [9, 1, 0])
def test_the_signed_rank_test_is_that_of_scipy(count, digits):
    d = np.round(np.random.default_rng(count).normal(0.3, 2, count), digits)
    assert wilcoxon(d) == pytest.approx(stats.wilcoxon(d).pvalue, abs=1e-12)


def test_too_few_images_have_a_dash_and_undefined_ones_no_interval():
    few = bootstrap([27.0, 28.0, 29.0, 30.0])
    assert justified(few) == "28.50 ± –" and not few.known
    assert not bootstrap([1.0, 2, 3, 4, 5, float("nan")]).known and justified(bootstrap([])) == "–"
    assert wilcoxon([0.0] * 6) == 1.0


def test_digits_are_those_that_the_interval_justifies():
    half = {0.0042: "27.346 ± 0.004", 0.16: "27.35 ± 0.16", 0.4: "27.3 ± 0.4", 4: "27 ± 4"}
    for h, text in half.items():
        assert justified(Interval(27.3456, 27.3456 - h, 27.3456 + h, 9)) == text


def test_pairs_are_of_the_same_images():
    one = {f"{i}": float(i) for i in range(8)} | {"only": 9.0, "nan": float("nan")}
    other = {f"{i}": i + 0.5 + 0.1 * i for i in range(8)} | {"nan": 1.0}
    found = paired(one, other)
    assert found.difference.images == 8 and found.difference.low > 0
    assert found.difference.mean == pytest.approx(0.85) and found.p == pytest.approx(2 / 2**8)
    assert found.ends == (("0", 0.5), ("7", pytest.approx(1.2)))
    assert paired({"a": 1.0}, {"b": 1.0}) is None


def test_the_memory_of_an_interval_does_not_grow_with_the_rows(monkeypatch):
    import unfold.evaluation.statistics as module

    drawn = []

    class Recorded:
        def __init__(self, *name):
            self.own = generator(*name)

        def integers(self, low, high, shape):
            drawn.append(shape[0] * shape[1])
            return self.own.integers(low, high, shape)

    values = np.random.default_rng(0).normal(27, 2, 3000)
    monkeypatch.setattr(module, "generator", Recorded)
    monkeypatch.setattr(module, "RESAMPLES", 999)
    found = bootstrap(values)
    assert max(drawn) <= 2**20 and sum(drawn) == 999 * 3000
    whole = values[generator("bootstrap", 3000).integers(0, 3000, (999, 3000))].mean(1)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(whole, (0.025, 0.975))))
