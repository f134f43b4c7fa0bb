"""The cache of baselines: a damaged, forged or foreign file is computed again, never believed."""

import threading

import pytest
import torch

from unfold.data.example import Example
from unfold.evaluation.baselines import Baselines, TunedTV
from unfold.physics.denoising import Denoising
from unfold.physics.noise.base import Gaussian

SETTINGS = TunedTV(count=2, images=1, crop=16, max_iterations=30, search_iterations=10)


def baselines(cache):
    images = [("a", Example(torch.linspace(0, 1, 256).reshape(1, 16, 16)))]
    return Baselines(SETTINGS, images, images, "data", 0, cache)


def physics(sigma):
    return Denoising(Gaussian(sigma))


def equal(one, other):
    return one.weight == other.weight and torch.equal(one.images[0], other.images[0])


@pytest.mark.filterwarnings("ignore:.*is not used")
def test_a_damaged_or_foreign_file_is_not_used(tmp_path):
    right = baselines(tmp_path).tuned("tv", physics(0.1))
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    baselines(tmp_path).tuned("tv", physics(0.2))
    (other,) = set(tmp_path.iterdir()) - {path}
    forged = torch.load(path, weights_only=True) | {"images": (torch.zeros(1, 16, 16),)}
    flipped = bytearray(content)
    flipped[len(flipped) // 2] ^= 1
    damages = [content[:-1], content[: len(content) // 2], b"", bytes(flipped), other.read_bytes()]
    for damage in damages:
        path.write_bytes(damage)
        with pytest.warns(UserWarning, match="is not used .*computed again"):
            assert equal(baselines(tmp_path).tuned("tv", physics(0.1)), right)
        assert path.read_bytes() == content
    torch.save(forged, path)
    with pytest.warns(UserWarning, match="is not used"):
        assert equal(baselines(tmp_path).tuned("tv", physics(0.1)), right)


def test_several_writers_at_once_leave_one_whole_file(tmp_path):
    found = []
    works = [
        threading.Thread(target=lambda: found.append(baselines(tmp_path).tuned("tv", physics(0.1))))
        for _ in range(4)
    ]
    for work in works:
        work.start()
    for work in works:
        work.join()
    assert len(found) == 4 and all(equal(one, found[0]) for one in found)
    assert len(list(tmp_path.iterdir())) == 1
    assert equal(baselines(tmp_path).tuned("tv", physics(0.1)), found[0])
