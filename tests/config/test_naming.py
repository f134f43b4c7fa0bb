"""Errors of components name options."""

import pytest

from tests.config.folder import checked
from unfold.algorithms.pgd import PGD
from unfold.config.naming import option_names, with_paths
from unfold.errors import ConfigError, DataError, IncompatibleError
from unfold.fidelities.l2 import L2


@pytest.fixture(scope="module")
def job():
    return checked()[0]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("PGD.stepsize = -1: must be positive.", "algo.stepsize = -1: must be positive."),
        ("use DnCNN.depth instead", "use prior.denoiser.depth instead"),
        ("Trainable.learn = []: nothing", "trainable.learn = []: nothing"),
        ("TrainerSettings.devices = 2: no", "trainer.devices = 2: no"),
        ("the PGD. It ends.", "the PGD. It ends."),
        ("MyPGD.stepsize", "MyPGD.stepsize"),
    ],
)
def test_a_field_of_a_class_is_named_by_its_path(job, text, named):
    assert with_paths(text, job.groups) == named


def test_errors_keep_their_class(job):
    with pytest.raises(DataError, match=r"algo\.stepsize"), option_names(job):
        raise DataError("PGD.stepsize")


def test_a_class_that_does_not_fit_is_named_by_its_option(job):
    error = IncompatibleError("{a} needs {b}.", a=PGD, b=[L2, PGD])
    assert str(error) == "PGD needs L2, PGD."
    expected = r"algo=pgd needs algo=pgd, fidelity=l2\."
    with pytest.raises(ConfigError, match=expected), option_names(job):
        raise error
