"""Exported networks take the operator as an input, and agree with the original."""

import io
from typing import Any

import pytest
import torch

from tests.engine import blur, inpainting, learned
from unfold.algorithms.admm import ADMM
from unfold.algorithms.pgd import PGD
from unfold.denoisers.dncnn import DnCNN
from unfold.export import Exportable
from unfold.fidelities.l2 import L2
from unfold.models.unfolded import Unfolded
from unfold.physics.inpainting import Mask
from unfold.priors.denoiser_priors import PnP
from unfold.pytree import map_tensors, tensors
from unfold.reconstructor import Reconstructor

LIKE = torch.zeros(1)
MASK = Mask(inpainting(8).mask.float().expand(2, 1, 8, 8).contiguous())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("algorithm", "operator"),
    [(PGD(), blur(8, batch=2).to_like(LIKE)), (ADMM(), MASK)],
    ids=["pgd blur", "admm inpainting"],
)
def test_a_trained_network_is_exported_with_its_operator_as_an_input(algorithm: Any, operator: Any):
    torch.manual_seed(0)
    net = Reconstructor(algorithm, PnP(DnCNN(1, 3, 4)), L2(), Unfolded(3))
    y = torch.rand(2, 1, 8, 8)
    optimizer = torch.optim.SGD(learned(net), 0.1)
    (net(y, operator) - y).square().mean().backward()
    optimizer.step()
    module = Exportable(net, operator).eval()
    with torch.no_grad():
        program = torch.export.export(module, (y, *tensors(operator)))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    exported = torch.export.load(file).module()
    other_y = torch.rand(2, 1, 8, 8)
    other = map_tensors(lambda t: 0.9 * t.roll(1, -1), operator)
    with torch.no_grad():
        got, want = exported(other_y, *tensors(other)), net(other_y, other)
        assert (got - want).abs().max() < 1e-5
        assert (want - net(other_y, operator)).abs().max() > 1e-2  # the operator matters
