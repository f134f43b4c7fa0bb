"""A training in stages: what moves, how fast, with how many iterations, and after a kill."""

import pytest
import torch

from tests.training.small import KilledError, small_data, small_settings
from tests.training.test_resume import same
from unfold.algorithms.pgd import PGD
from unfold.config.build import verify
from unfold.config.compose import compose
from unfold.data.image_data import EmbeddedData
from unfold.denoisers.dncnn import DnCNN
from unfold.errors import ConfigError
from unfold.evaluation.metrics import ImageMetrics
from unfold.fidelities.l2 import L2
from unfold.models.unfolded import Unfolded
from unfold.parameters.select import Trainable
from unfold.physics.inpainting import Inpainting
from unfold.physics.noise.base import Gaussian
from unfold.priors.denoiser_priors import PnP
from unfold.reconstructor import Reconstructor
from unfold.runs.identity import hashed_part
from unfold.training.checkpoints.checksum import newest_checkpoint
from unfold.training.course import moves_of
from unfold.training.fit import fit
from unfold.training.losses import MSE
from unfold.training.module import Training, TrainingOptions
from unfold.training.optim import Adam, Constant, Cosine
from unfold.training.settings import CSV
from unfold.training.stages import Greedy, Stage

UNTIED = ("algo.stepsize", "prior.denoiser")


def network(iterations=3, untied=UNTIED):
    torch.manual_seed(0)
    prior = PnP(DnCNN(1, depth=2, width=4))
    trainable = Trainable(untied=untied)
    return Reconstructor(PGD(), prior, L2(), Unfolded(iterations), trainable=trainable)


def staged(plan, net=None, scheduler=None):
    options = TrainingOptions(seed=0, log_every=1, shards=1, stages=tuple(plan))
    physics, schedule = Inpainting(Gaussian(0.02)), scheduler or Constant()
    parts = (physics, MSE(), Adam(lr=1e-2), schedule, ImageMetrics(), options)
    return Training(net or network(), *parts)


def run(directory, training, data=None, **settings):
    steps = sum(stage.steps for stage in training.options.stages)
    found = newest_checkpoint(directory / "checkpoints")
    given = {"gradient_clip": None, "checkpoint_every": 1} | settings
    scores = fit(
        training,
        data or small_data(),
        small_settings(steps, **given),
        CSV(),
        directory,
        objective="validation/psnr",
        resume_from=found.path,
    )
    return training.reconstructor, scores


LAYERS = Greedy(steps=2, joint=(0.5,), older=0.3, proportional=False)


def test_what_moves_is_what_optimizers_of_the_layers_alone_would_move(tmp_path, monkeypatch):
    """Against a loop in PyTorch with one Adam for each layer, whose rates are written out."""
    monkeypatch.setattr("unfold.training.fit._select_weights", lambda *_: 0.0)
    plan = LAYERS.of(2)
    data = EmbeddedData(seed=0, crop=16, batch_size=4, crops_per_image=4, workers=0)
    trained, _ = run(tmp_path, staged(plan, network(2)), data, validate_every=9)

    net = network(2).float()
    weights = [list(net.prior.denoiser[k].parameters()) for k in range(2)]
    step = [net.algo.raw_stepsize.detach()[k].clone().requires_grad_() for k in range(2)]
    training = staged(plan, net)
    batches = iter(data.train_loader())
    rates = [({0: 1e-2}, 1), ({0: 5e-3}, 1), ({1: 1e-2}, 2), ({0: 1.5e-3, 1: 5e-3}, 2)]
    for own, used in rates:
        groups = [{"params": [*weights[k], step[k]], "lr": lr} for k, lr in own.items()]
        adam = torch.optim.Adam(groups)
        for _ in range(2):
            batch = next(batches)
            _, y, operator, level, _ = training._measured(batch, "train")
            adam.zero_grad()
            x = net.start.image(net.steps(y, operator, level).at(0)[1].f)
            for k in range(used):  # PGD, written out; ‖A‖ = 1
                v = x - step[k].exp() * operator.A_adjoint(operator.A(x) - y)
                x = net.prior.denoiser[k](v, 0.0)
            (x - batch.images).square().mean().backward()
            adam.step()
    for k in range(2):
        assert torch.allclose(trained.algo.raw_stepsize[k], step[k], atol=1e-6)
        for one, other in zip(trained.prior.denoiser[k].parameters(), weights[k], strict=True):
            assert torch.allclose(one, other, atol=2e-6)


def test_a_layer_alone_leaves_the_bits_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr("unfold.training.fit._select_weights", lambda *_: 0.0)
    before = {n: t.clone() for n, t in network().state_dict().items()}
    plan = [Stage(3, at=(2,))]
    after = run(tmp_path, staged(plan))[0].state_dict()
    changed = {n for n, t in after.items() if not torch.equal(t, before[n])}
    weights = {n for n in before if n.startswith("prior.denoiser.1.")}
    assert changed == {"algo.raw_stepsize", *weights}
    moved = after["algo.raw_stepsize"] != before["algo.raw_stepsize"]
    assert moved.tolist() == [False, True, False]
    assert all(p.requires_grad for p in network().parameters())


@pytest.mark.parametrize("kills", [[1], [2], [3, 5], [6, 7], [0, 4, 4, 7]])
def test_a_kill_in_any_stage_leaves_no_trace(tmp_path, uninterrupted, kills):
    for kill in (*kills, None):
        training = staged(LAYERS.of(2), network(2), Cosine())
        original = training.training_step

        def step(batch, index, training=training, kill=kill, original=original):
            if training.global_step == kill:
                raise KilledError
            return original(batch, index)

        training.training_step = step
        if kill is None:
            assert run(tmp_path, training)[1] == uninterrupted[1]
        else:
            with pytest.raises(KilledError):
                run(tmp_path, training)
    assert same(tmp_path, uninterrupted[0])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("stages")
    return directory, run(directory, staged(LAYERS.of(2), network(2), Cosine()))[1]


def test_the_schedule_starts_anew_in_every_stage(uninterrupted):
    rows = (uninterrupted[0] / "metrics.csv").read_text().splitlines()
    columns = [i for i, name in enumerate(rows[0].split(",")) if name.startswith("lr-")]
    rates = [max(float(row.split(",")[i]) for i in columns) for row in rows[1:9]]
    half = Cosine().factor(1, 2)
    expected = [1e-2, 1e-2 * half, 5e-3, 5e-3 * half] * 2
    assert rates == pytest.approx(expected, rel=1e-6)


def test_patience_ends_a_stage_and_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr("unfold.training.settings.SHORTEST", 1)
    # With a rate so small no validation is better than the first.
    plan = [Stage(40, iterations=1, patience=2, factor=1e-12), Stage(8), Stage(40, patience=1)]
    training = staged(plan)
    training.optimizer = Adam(lr=1e-2)
    _, scores = run(tmp_path, training, validate_every=1)
    assert training.course.started == 3 * 4 + 8 and scores["steps"] < 60
    again = staged(plan)
    assert run(tmp_path, again, validate_every=1)[1] == scores  # finished, so nothing is trained


def test_the_loss_is_of_the_image_after_the_iterations_in_use():
    net = network()
    training = staged([Stage(1, iterations=2), Stage(1)], net)
    batch = next(iter(small_data().train_loader()))
    short, loss = training.compare(batch, "train")
    all_of_them, _ = staged([Stage(1)], net).compare(batch, "train")
    _, y, operator, level, _ = training._measured(batch, "train")
    images = net.solve(y, operator, noise_level=level, keep_iterates=True).iterates
    assert torch.equal(short.image, images[2]) and torch.equal(all_of_them.image, images[3])
    assert torch.equal(loss, (images[2] - batch.images).square().mean())
    assert short.iterations.tolist() == [2] * 4


def test_a_denoiser_is_trained_alone_at_first(tmp_path):
    net = network(untied=())
    plan = [Stage(40, learn=("prior.*",), denoising=0.1), Stage(1, factor=1e-9)]
    training = staged(plan, net)
    batch = next(iter(small_data().train_loader()))
    physics, y, *_ = training._measured(batch, "train")
    assert type(physics).__name__ == "Denoising"
    assert float((y - batch.images).std()) == pytest.approx(0.1, rel=0.1)
    solution, loss = training.compare(batch, "train")
    assert torch.equal(solution.image, net.prior.denoiser(y, 0.0))
    start = float(loss.detach())
    run(tmp_path, training)
    assert not torch.equal(net.prior.denoiser(y, 0.0), solution.image)
    training.course.index = 0
    assert float(training.compare(batch, "train")[1].detach()) < start


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ([Stage(1, learn=("algo.step",))], r"stage 1.learn names 'algo.step', which is not learne"),
        ([Stage(1, lr={"prior.x": 1.0}), Stage(1)], r"stage 1.lr names 'prior.x'"),
        ([Stage(1, iterations=4), Stage(1)], r"stage 1.iterations = 4: the model has 3"),
        ([Stage(1, iterations=2)], "the last stage uses 2 iterations, and the model has 3"),
        ([Stage(1, at=(3,), iterations=2), Stage(1)], "3 is beyond the 2 in use"),
        ([Stage(1), Stage(1, learn=("prior.denoiser.2",), at=(1,))], "stage 2 learns nothing"),
        ([Stage(1, denoising=0.1), Stage(1)], "one network that all iterations share"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(plan, words):
    with pytest.raises(ConfigError, match=words):
        moves_of(plan, network(), {}, 1e-3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{step: 3}", r"stages.stages\[0\].step = 3: unknown key, did you mean 'steps'"),
        ("{learn: ['*']}", r"stages.stages\[0\].steps: must be given"),
        ("{steps: 0}", r"stages.stages\[0\].steps = 0: must be a whole number"),
        ("{steps: 1, at: first}", r"stages.stages\[0\].at = first: one of all, last or a list"),
        ("{steps: 1, learn: algo}", r"stages.stages\[0\].learn = algo: a list is expected"),
        ("{steps: 1, learn: [algo.beta]}", "stage 1.learn names 'algo.beta', which is not learned"),
        ("", "stages.stages = .*: at least one stage"),
    ],
)
def test_a_stage_that_cannot_be_read_is_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        verify(compose(["stages=list", f"stages.stages=[{given}]"]))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trainer.max_steps=450"], "trainer.max_steps = 450: the stages have 30 steps together"),
        (["trainer.max_epochs=2"], "trainer.max_epochs = 2: stages end by their steps"),
        (["trainer.early_stopping=2"], "trainer.early_stopping = 2: stages end"),
        (["model=deq"], "stage 1: DEQ repeats one and the same step"),
    ],
)
def test_a_configuration_that_disagrees_is_refused(arguments, words):
    plan = "stages.stages=[{steps: 10, iterations: 1}, {steps: 20}]"
    with pytest.raises(ConfigError, match=words):
        verify(compose(["stages=list", plan, *arguments]))


def test_stages_give_the_length_and_belong_to_the_identity():
    (job,) = verify(compose(["stages=list", "stages.stages=[{steps: 30}]"]))
    assert job.components.trainer.max_steps == 30
    (default,) = verify(compose(["seed=0"]))
    assert "stages" not in hashed_part(default.job.stored, {})
    assert hashed_part(job.job.stored, {})["stages"]["stages"] == [{"steps": 30}]
