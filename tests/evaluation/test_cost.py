"""What a reconstruction costs, held to a count of every call of A and A* themselves."""

import json
from types import SimpleNamespace

import pytest
import torch

import unfold
from tests.evaluation.test_across_operators import context
from unfold.evaluation.base import Condition
from unfold.evaluation.cost import counted, write_cost
from unfold.physics.denoising import Denoising
from unfold.physics.noise.base import Gaussian
from unfold.random import Draws


def measured(*words):
    built = unfold.build(*words, "prior=tv", "model=unfolded", "model.iterations=3")
    y, operator = built.physics.measure(torch.rand(1, 1, 24, 24), Draws(0, range(1)))
    return built.reconstructor, y, operator


def recorded(real, calls):
    def call(*given):
        calls.append(real)
        return real(*given)

    return call


@pytest.mark.parametrize("algo", ["pgd", "hqs"])
@pytest.mark.parametrize("physics", ["tomography", "gaussian_sensing"])
def test_iterations_of_a_solve_and_both_of_a_normal_are_counted(algo, physics, monkeypatch):
    net, y, operator = measured(f"algo={algo}", f"physics={physics}")
    kind, calls = type(operator), []
    for name in ("forward", "adjoint"):
        monkeypatch.setattr(kind, name, recorded(getattr(kind, name), calls))
    with torch.no_grad(), counted(net, operator) as counts:
        net.solve(y, operator, noise_level=torch.tensor([0.02]))
    assert counts["operator_calls"] == len(calls) > 2 * 3


def test_closed_forms_count_as_the_two_that_they_replace():
    net, _, operator = measured("algo=hqs", "physics=denoising")
    x = torch.rand(1, 1, 24, 24)
    with counted(net, operator) as counts:
        operator.normal(x)
        operator.solve_normal(x, 1.0)
    assert counts["operator_calls"] == 4


def test_memory_is_of_the_device_and_of_this_reconstruction_alone(tmp_path, monkeypatch):
    made = context(tmp_path / "r/s/n", Denoising(Gaussian(0.1)))
    condition = Condition("own", "as trained", made.physics)
    batch = next(made.test_batches())
    write_cost(made, condition, batch)
    assert "memory" not in json.loads((made.folder / "cost.json").read_text())
    order = []
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda name=name: order.append(name))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 5_000_000)
    monkeypatch.setattr(type(made), "anchor", SimpleNamespace(is_cuda=True))
    write_cost(made, condition, batch)
    assert json.loads((made.folder / "cost.json").read_text())["memory"] == 5
    assert order == ["synchronize", "reset_peak_memory_stats"]
