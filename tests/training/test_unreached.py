"""An equilibrium or its gradient that is not reached: counted, skipped, or an error."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.training.small import KilledError, run, small_training
from tests.training.test_nonfinite import rows
from tests.training.test_resume import same
from unfold.config.build import verify
from unfold.config.compose import compose
from unfold.errors import ConfigError, ConvergenceError
from unfold.models.deq import DEQ
from unfold.models.equilibrium_gradient import Implicit, JacobianFree, Neumann
from unfold.solvers.fixed_point import Picard
from unfold.training.checkpoints.checksum import newest_checkpoint
from unfold.training.guard.guard import Guard, Skip, Stop, Warn, policy
from unfold.training.settings import TrainerSettings

LOOSE = {"tol": 0.05, "accuracy": float("inf")}

EASY = DEQ(**LOOSE, backward=Implicit(**LOOSE))
"""An equilibrium that is always reached."""

HARD = DEQ(tol=1e-9, max_iterations=2, solver=Picard(), backward=JacobianFree())
"""One that never is."""


def hard_in(steps, answer, kill=None):
    """A training with hard equilibria in some steps, that dies in step `kill`.

    Its weights before every step are kept in `seen`.
    """
    training = small_training(model=EASY)
    training.guard = Guard(Stop(), answer)
    training.seen = []
    original = training.training_step

    def training_step(batch, batch_idx):
        step = training.global_step
        training.seen.append([p.detach().clone() for p in training.reconstructor.parameters()])
        if step == kill:
            raise KilledError
        training.reconstructor.model = HARD if step in steps else EASY
        loss = original(batch, batch_idx)
        training.reconstructor.model = EASY
        return loss

    training.training_step = training_step
    return training


def column(directory, name):
    return [float(row[name] or 0) for _, row in sorted(rows(directory).items())]


def test_by_default_such_steps_are_warned_once_counted_and_taken(tmp_path):
    training = hard_in({1, 3}, Warn())
    words = (
        r"not reached in step 1: 4 of 4 images, image \d+ first, are at a residual of \d\.\de-\d\d "
        r"after 2 iterations\. The training continues .* counts such steps\. Raise "
        r"max_iterations of the model .*contractive prior\."
    )
    with pytest.warns(UserWarning, match=words) as caught:
        run(tmp_path, steps=5, training=training)
    assert sum("not reached in step" in str(one.message) for one in caught) == 1
    assert column(tmp_path, "train/unreached")[:5] == [0, 1, 1, 2, 2]
    seen = training.seen
    assert not all(map(torch.equal, seen[1], seen[2])), "the step is taken"
    assert isinstance(TrainerSettings().guard().on_unreached, Warn)


@pytest.mark.filterwarnings("ignore:An equilibrium")
def test_a_step_that_is_skipped_moves_nothing_and_is_counted(tmp_path):
    training = hard_in({2, 3}, Skip(2))
    run(tmp_path, steps=6, training=training)
    seen = training.seen
    assert all(map(torch.equal, seen[2], seen[4])), "steps 2 and 3"
    assert not all(map(torch.equal, seen[4], seen[5]))
    for name in ("train/unreached", "train/skipped"):
        assert column(tmp_path, name)[:6] == [0, 0, 1, 2, 2, 2]


@pytest.mark.filterwarnings("ignore:An equilibrium")
def test_more_skips_in_a_row_than_allowed_stop_the_run(tmp_path):
    words = r"step 4: 4 of 4.*The 2 steps before it .*or raise unreached_limit\."
    with pytest.raises(ConvergenceError, match=words) as caught:
        run(tmp_path, steps=6, training=hard_in({0, 2, 3, 4}, Skip(2)))
    assert caught.value.exit_code == 4


def test_a_training_can_stop_at_the_first(tmp_path):
    with pytest.raises(ConvergenceError, match=r"step 1: 4 of 4 images.*contractive prior\.$"):
        run(tmp_path, steps=3, training=hard_in({1}, Stop()))


@pytest.mark.filterwarnings("ignore:An equilibrium")
@pytest.mark.parametrize("name", ["warn", "skip"])
def test_killed_runs_resume_bit_identically(tmp_path, name):
    given = {"steps": 6, "checkpoint_every": 2}
    uninterrupted = hard_in({3}, policy(name, 3))
    scores = run(tmp_path / "uninterrupted", training=uninterrupted, **given)[1]
    for kill in (4, 5):
        found = newest_checkpoint(tmp_path / "cut/checkpoints").path
        training = hard_in({3}, policy(name, 3), kill=kill)
        with pytest.raises(KilledError):
            run(tmp_path / "cut", training=training, resume_from=found, **given)
    found = newest_checkpoint(tmp_path / "cut/checkpoints").path
    training = hard_in({3}, policy(name, 3))
    assert run(tmp_path / "cut", training=training, resume_from=found, **given)[1] == scores
    assert same(tmp_path / "uninterrupted", tmp_path / "cut")


@pytest.mark.filterwarnings("ignore:The gradient of the equilibrium")
@pytest.mark.parametrize("shards", [1, 2])
def test_a_gradient_that_is_not_reached_counts_as_well(tmp_path, shards):
    """The equilibrium is; and a truncated series promises nothing, so nothing is missed."""
    backward = Implicit(tol=1e-9, max_iterations=1, solver=Picard())
    training = small_training(model=DEQ(**LOOSE, backward=backward), shards=shards)
    training.guard = Guard(Stop(), Stop())
    words = r"step 0: the gradients of 4 of 4 are at a residual of .* after 1 products\."
    with pytest.raises(ConvergenceError, match=words):
        run(tmp_path / "implicit", steps=1, training=training)
    training = small_training(model=DEQ(**LOOSE, backward=Neumann(0)), shards=shards)
    training.guard = Guard(Stop(), Stop())
    run(tmp_path / "series", steps=1, training=training)
    assert column(tmp_path / "series", "train/unreached")[0] == 0


def test_every_batch_of_a_step_counts(tmp_path):
    """Of three batches, the first is hard."""
    training = small_training(model=EASY)
    training.guard = Guard(Stop(), Stop())
    original, seen = training.training_step, []

    def training_step(batch, batch_idx):
        training.reconstructor.model = EASY if seen else HARD
        seen.append(batch)
        return original(batch, batch_idx)

    training.training_step = training_step
    with pytest.raises(ConvergenceError, match=r"step 0: 4 of 12 images"):
        run(tmp_path, steps=2, training=training, accumulate=3)
    assert len(seen) == 3


def test_of_two_failures_nonfinite_is_handled():
    """And what several processes see, each of them answers."""
    guard = Guard(Skip(9), Skip(9))
    network = nn.Linear(1, 1)
    for nonfinite, unreached in ((1, 1), (2, 0), (0, 1)):
        guard.observe(torch.tensor(0.0), [], [])
        sums = torch.tensor([float(nonfinite), float(unreached)])
        with pytest.warns(UserWarning, match="finite: x" if nonfinite else "another process"):
            guard.check(7, network, lambda: "x", lambda flags, sums=sums: sums)
    assert (guard.on_nonfinite.count, guard.on_unreached.count) == (2, 1)
    assert guard.counts() == {"train/skipped": 3}, "it has seen no model with equilibria"


def test_flags_are_summed_over_processes():
    training, asked = small_training(), []

    def reduce(values, reduce_op):
        asked.append(reduce_op)
        return values * 2

    training._trainer = SimpleNamespace(world_size=1, strategy=SimpleNamespace(reduce=reduce))
    one = torch.tensor([0.0, 1.0])
    assert training._total(one) is one
    training._trainer.world_size = 2
    assert training._total(one).tolist() == [0, 2] and asked == ["sum"]


def test_an_invalid_limit_is_refused():
    with pytest.raises(ConfigError, match=r"unreached_limit = 0: must be a whole number of at le"):
        TrainerSettings(unreached_limit=0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.on_unreached=skip"], r"on_unreached = skip: only an equilibrium .* Unfolded"),
        (
            ["model=deq", "trainer.on_unreached=skip", "model.backward.on_divergence=error"],
            r"trainer\.on_unreached = skip: .*on_divergence=error .* Set on_divergence=warn",
        ),
    ],
)
def test_a_policy_that_never_applies_is_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        verify(compose(words))


def test_a_policy_that_applies_is_accepted():
    verify(compose(["model=deq", "trainer.on_unreached=skip"]))
    verify(
        compose(["model=deq", "trainer.on_unreached=stop", "model.backward.on_divergence=error"])
    )
