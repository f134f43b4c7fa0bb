"""Learned soft thresholding: support selection."""

import pytest
import torch

from tests.engine import normal
from unfold.algorithms.learned_ista import CoupledISTA
from unfold.thresholds import soft


@pytest.mark.parametrize("share", [0.0, 0.002, 0.004, 0.13, 1.0])
def test_support_selection_keeps_the_largest(share: float):
    v = normal(3, 1, 1, 250, seed=4).float()
    ours = CoupledISTA(threshold=torch.tensor(0.4), support=torch.tensor(share)).shrunk(v)
    order = v.abs().flatten(1).argsort(descending=True)[:, : int(250 * share)]
    kept = torch.zeros(3, 250, dtype=torch.bool).scatter(1, order, True).reshape(v.shape)
    assert torch.equal(ours, torch.where(kept & (v.abs() > 0.4), v, soft(v, 0.4)))


@pytest.mark.parametrize("share", [0.0, 0.13])
def test_support_selection_waits_for_no_device(share: float):
    """Tensors without data have no number that could be read back."""
    support, theta = (torch.tensor(value, device="meta") for value in (share, 0.4))
    v = torch.empty(3, 1, 1, 250, device="meta")
    assert CoupledISTA(threshold=theta, support=support).shrunk(v).shape == v.shape
