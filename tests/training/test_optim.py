"""The optimizers are those of PyTorch that their names say."""

import torch

from unfold.training.optim import Adam, AdamW

SETTINGS = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.3}


def steps(optimizer, start):
    """A weight after three steps on ½‖w − 1‖²."""
    w = torch.nn.Parameter(start.clone())
    made = optimizer([w])
    for _ in range(3):
        made.zero_grad()
        (w - 1).square().sum().div(2).backward()
        made.step()
    return w.detach()


def adam(start, *, lr, betas, eps, weight_decay, decoupled):
    """Three steps as they are written in the papers."""
    w, m, v = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for t in range(1, 4):
        g = w - 1 + (0 if decoupled else weight_decay) * w
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        step = (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)).sqrt() + eps)
        w = w - lr * step - (lr * weight_decay * w if decoupled else 0)
    return w


def test_weight_decay_is_in_the_gradient_of_adam_and_decoupled_in_adamw():
    start = torch.tensor([3.0, -2.0, 0.5], dtype=torch.float64)
    for kind, decoupled in ((Adam, False), (AdamW, True)):
        found = steps(kind(**SETTINGS).build, start)
        torch.testing.assert_close(found, adam(start, **SETTINGS, decoupled=decoupled))


def test_both_are_bit_identical_without_weight_decay():
    start = torch.randn(100, generator=torch.Generator().manual_seed(0))
    plain = SETTINGS | {"weight_decay": 0.0}
    assert torch.equal(steps(Adam(**plain).build, start), steps(AdamW(**plain).build, start))
