"""What a batch holds is a function of (seed, epoch, position), whoever asks."""

from itertools import chain

import numpy as np
import pytest
import torch
from PIL import Image

from unfold.data.batches import (
    CropWindow,
    EvaluationBatches,
    Examined,
    TrainBatches,
    TrainCrops,
    cut,
    cut_to_multiple,
    epoch_order,
    random_window,
)
from unfold.data.example import Example, Sample, collate
from unfold.errors import ConfigError, ShapeError


def picture(height, width, channels=1):
    return torch.arange(channels * height * width, dtype=torch.float32).reshape(
        channels, height, width
    )


def test_an_epoch_is_a_permutation():
    assert sorted(epoch_order(0, 0, 200)) == list(range(200))


def test_epochs_and_seeds_differ_and_large_seeds_keep_their_bits():
    orders = {tuple(epoch_order(seed, epoch, 50)) for seed in (0, 1, 2**64) for epoch in (0, 1)}
    assert len(orders) == 6


def test_an_epoch_does_not_depend_on_previous_calls():
    batches = TrainBatches(20, 4, seed=3)
    batches.set_epoch(5)
    first = list(batches)
    batches.set_epoch(0)
    list(batches)
    batches.set_epoch(5)
    assert list(batches) == first == TrainBatches(20, 4, seed=3).batches(5)


def test_global_generators_are_not_used():
    torch.manual_seed(0)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    key = next(iter(TrainBatches(20, 4, seed=0)))[0]
    TrainCrops([picture(9, 9)], 0, 4)[key]
    assert torch.equal(state, torch.get_rng_state())
    assert (np.random.get_state()[1] == numpy_state).all()


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_the_parts_of_all_ranks_are_the_batch_of_one_process(ranks):
    whole = TrainBatches(50, 8, seed=1).batches(2)
    parts = [TrainBatches(50, 8, 1, rank, ranks).batches(2) for rank in range(ranks)]
    assert [list(chain(*together)) for together in zip(*parts, strict=True)] == whole


def test_an_incomplete_batch_is_dropped():
    batches = TrainBatches(11, 4, seed=0)
    assert [len(batch) for batch in batches] == [4, 4]
    assert len(batches) == 2


def test_a_resumed_epoch_continues_after_its_last_batch():
    whole = TrainBatches(40, 4, seed=0)
    resumed = TrainBatches(40, 4, seed=0, done=lambda: 7)
    assert list(resumed) == list(whole)[7:]
    assert len(resumed) == len(whole) == 10


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ConfigError, match=r"batch_size = 8: .* multiple of the 3 processes"):
        TrainBatches(50, 8, seed=0, ranks=3)


def test_an_epoch_without_a_full_batch_is_refused():
    with pytest.raises(ConfigError, match=r"batch_size = 8: an epoch has only 7 samples"):
        TrainBatches(7, 8, seed=0)


def test_evaluation_keeps_the_order_and_groups_equal_shapes():
    shapes = [(1, 8, 8)] * 3 + [(1, 8, 16)] + [(1, 8, 8)]
    batches = list(EvaluationBatches(shapes, 2))
    assert batches == [[(0, 0), (0, 1)], [(0, 2)], [(0, 3)], [(0, 4)]]


def test_evaluation_of_nothing_has_no_batch():
    assert list(EvaluationBatches([], 2)) == []


def test_collate_keeps_the_index_and_the_epoch():
    batch = collate([Sample(Example(picture(4, 4)), (3, i)) for i in (9, 2)])
    assert batch.images.shape == (2, 1, 4, 4)
    assert batch.index.tolist() == [9, 2]
    assert batch.index.dtype == torch.long
    assert batch.epoch == 3


def test_images_of_several_sizes_are_refused_with_their_sizes():
    samples = [Sample(Example(picture(4, 4)), (0, 0)), Sample(Example(picture(4, 6)), (0, 1))]
    with pytest.raises(ShapeError, match=r"1x4x4, 1x4x6.*evaluation_batch_size=1"):
        collate(samples)


def test_a_crop_is_the_window_by_hand():
    image = picture(6, 7)
    part = cut(image, CropWindow(1, 2, flipped=True, turns=1), 4)
    expected = np.rot90(np.fliplr(image[0].numpy()[1:5, 2:6]), 1)
    np.testing.assert_array_equal(part[0], expected)


def test_windows_reach_every_corner_and_orientation():
    windows = [random_window(0, (0, i), 10, 9, 8) for i in range(400)]
    seen = {tuple(window) for window in windows}
    assert len(seen) == 3 * 2 * 2 * 4


def test_windows_are_uniform():
    tops = [random_window(0, (e, i), 11, 11, 8).top for e in range(20) for i in range(100)]
    counts = np.bincount(tops, minlength=4)
    assert ((counts - 500) ** 2 / 500).sum() < 16.3  # chi-square, 3 degrees of freedom, p = 0.001


def test_a_sample_is_of_its_image_and_changes_with_the_epoch():
    crops = TrainCrops([torch.zeros(1, 9, 9), torch.ones(1, 9, 9)], seed=0, crop=4)
    assert [float(crops[0, i].example.image.mean()) for i in range(4)] == [0, 1, 0, 1]
    varied = TrainCrops([picture(30, 30)], seed=0, crop=4)
    assert not torch.equal(varied[0, 0].example.image, varied[1, 0].example.image)
    assert torch.equal(varied[1, 0].example.image, varied[1, 0].example.image)


def test_a_crop_is_shrunk_as_pillow_shrinks():
    image = torch.from_numpy(np.random.default_rng(0).random((1, 24, 24), np.float32))
    crops = TrainCrops([image], seed=0, crop=8, flips=False, rotations=False, shrink=16.0)
    whole = Image.fromarray(image[0].numpy()).resize((8, 8), Image.Resampling.BICUBIC)
    expected = torch.from_numpy(np.array(whole)).clamp(0, 1)
    found = [crops[0, i].example.image[0] for i in range(20)]
    assert all(x.shape == (8, 8) for x in found) and min(x.min() for x in found) >= 0
    equal = [bool(torch.allclose(x, expected, atol=1e-5)) for x in found]
    assert 6 <= sum(equal) < 20  # log 3/log 16 = 0.4 of the windows are smaller than the image


def test_a_window_of_a_shrunk_crop_is_log_uniform_and_inside():
    image = picture(400, 400) / 160_000
    crops = TrainCrops([image], seed=0, crop=8, flips=False, rotations=False, shrink=4.0)
    spans = [
        float(x[0, -1, 0] - x[0, 0, 0]) * 400 / 7
        for x in (crops[0, i].example.image for i in range(300))
    ]  # the slope of a ramp tells the factor
    halves = sum(s < 2 for s in spans)
    assert 120 < halves < 180 and max(spans) < 4.3 and min(spans) > 0.9


def test_full_images_are_cropped_at_the_bottom_and_right():
    image = picture(10, 13)
    torch.testing.assert_close(cut_to_multiple(image, 4), image[:, :8, :12])
    assert Examined([Example(cut_to_multiple(image, 5))])[0, 0].example.image.shape == (1, 10, 10)
