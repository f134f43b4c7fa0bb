"""`unfold compare-gradients`: every gradient of one batch on identical weights."""

import pytest
import torch

from tests.engine import blur, measured, network_prior, reconstructor
from unfold.algorithms.pgd import PGD
from unfold.cli.console import guarded
from unfold.cli.main import dispatch
from unfold.errors import ConfigError
from unfold.evaluation.gradients import Case, PeakMemory, compare_gradients
from unfold.models.deq import DEQ
from unfold.models.unfolded import Unfolded


def case() -> Case:
    A = blur(6, batch=2)
    y = measured(A, batch=2).float()
    return Case(y.clone(), y, A.to_like(y), torch.nn.functional.mse_loss)


def test_the_exact_gradients_have_no_error_and_the_others_have():
    net = reconstructor(PGD(stepsize=0.3), DEQ(), network_prior()).float()
    rows = {(r.model, r.mode): r for r in compare_gradients(net, case(), 6)}
    assert len(rows) == 10 and isinstance(net.model, DEQ)
    for (model, mode), row in rows.items():
        if mode in ("full", "checkpoint") or mode.startswith("implicit"):
            assert row.error < 1e-2, (model, mode, row.error)
        assert row.cosine > 0.5 and row.memory > 0 and row.seconds > 0
        assert row.reached is (None if model == "unfolded" else True)
    assert rows["unfolded", "full"].error < 1e-4
    assert rows["unfolded", "truncated"].error > 1e-2 < rows["deq", "jacobian_free"].error
    assert rows["unfolded", "checkpoint"].memory < rows["unfolded", "full"].memory


def test_an_equilibrium_with_something_learned_is_needed():
    with pytest.raises(ConfigError, match="model = Unfolded: an equilibrium is needed"):
        next(compare_gradients(reconstructor(PGD(), Unfolded(2)), case(), 3))
    with pytest.raises(ConfigError, match="nothing is learned"):
        next(compare_gradients(reconstructor(PGD(), DEQ(), learn=[]), case(), 3))


def test_the_peak_counts_what_lives_at_one_time():
    with PeakMemory() as peak:
        kept = torch.zeros(1000, dtype=torch.float64)
        for _ in range(50):
            kept = kept + 1  # two at a time
        view = kept.view(10, 100)[3:]
    assert 16000 <= peak.bytes < 25000 and view.shape == (7, 100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["images=0"], "images = 0: a whole number of at least 1 is expected."),
        (["iterations=two"], "iterations = two: a whole number"),
        (["model=unfolded"], "model=unfolded: compare-gradients runs every model itself"),
        (["algo=pgdd"], "algo = pgdd: no such option, did you mean 'pgd'?"),
        (["trainable.learn=[]"], "error: trainable.learn: nothing is learned"),
        (["loss=sure"], "loss SURE: gradients are compared where the images are known"),
    ],
)
def test_what_cannot_be_meant_is_said(arguments: list[str], message: str, capsys):
    assert guarded(dispatch, ["compare-gradients", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_help_tells_of_it(capsys):
    assert guarded(dispatch, ["compare-gradients", "--help"]) == 0
    assert "unfold compare-gradients [images=...]" in capsys.readouterr().out
