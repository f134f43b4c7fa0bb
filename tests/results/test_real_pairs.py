"""Graphs of real numbers compute what complex ones do."""

import pytest
import torch

from unfold.errors import ConfigError
from unfold.results.real_pairs import Lowered

Z = torch.randn(2, 3, 4, 6, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
W = torch.randn(2, 1, 4, 6, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
X = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(2))
REAL = (torch.view_as_real(Z), torch.view_as_real(W), X)

FUNCTIONS = {
    "arithmetic": lambda z, w, x: (z + w - 2 * x) * (z * x - w) / (w + 3) + 1j * z / (x + 1),
    "reciprocal": lambda z, w, x: 1 / (z + 3) - torch.reciprocal(w + 2j) - z**2,
    "modulus": lambda z, w, x: z.abs() + w.abs().square() + z.real * w.imag,
    "conjugate": lambda z, w, x: torch.conj_physical(z) * w.conj() + torch.complex(x, x),
    "transforms": lambda z, w, x: torch.fft.ifft2(torch.fft.fft2(z, norm="ortho") * w) * x,
    "odd transforms": lambda z, w, x: (
        torch.fft.fft2(z[..., :3, :5], norm="forward") + torch.fft.ifft2(x[..., 1:, 1:])
    ),
    "padded transforms": lambda z, w, x: torch.fft.irfft2(
        torch.fft.rfft2(x[..., :2, :3], s=(4, 5)) * torch.fft.fft2(w, s=(4, 3)), s=(4, 5)
    ),
    "odd real transforms": lambda z, w, x: torch.fft.irfft2(
        torch.fft.rfft2(x[..., :3, :5], norm="ortho") * w[..., :3, :3], s=(3, 5), norm="ortho"
    ),
    "real transforms": lambda z, w, x: torch.fft.irfft2(torch.fft.rfft2(x) * 2, s=(4, 6)) + x,
    "shapes": lambda z, w, x: (
        torch.cat([z.roll((1, -2), (-2, -1)), w.expand(2, 2, 4, 6)], 1)[:, 1:, None].flip(-1).sum(1)
    ),
    "views": lambda z, w, x: z.permute(0, 2, 3, 1).reshape(2, -1).unsqueeze(1).squeeze(1),
    "choices": lambda z, w, x: torch.where(x > 0.5, torch.nn.functional.pad(w, (0, 0, 0, 0)), z),
    "norms": lambda z, w, x: torch.linalg.vector_norm(z.flatten(1), dim=1) + z.mean((1, 2, 3)).real,
    "products": lambda z, w, x: (z @ w.mT) @ x[..., :4, :4].to(torch.complex64),
    "constants": lambda z, w, x: torch.zeros_like(z) + torch.ones_like(w) * x.to(torch.complex64),
    "parts": lambda z, w, x: torch.view_as_real(z).sum(-1) + torch.stack(z.unbind(1), 1).real,
}


class Function(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.register_buffer("scale", torch.tensor(0.5 + 0.25j))

    def forward(self, z, w, x):
        return self.function(z * self.scale, w, x)


def lowered(function):
    program = torch.export.export(Function(function), (Z, W, X), strict=False)
    return Lowered(program.run_decompositions({}).module(check_guards=False), REAL)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_graph_of_pairs_computes_the_same(name):
    want = Function(FUNCTIONS[name])(Z, W, X)
    traced = torch.export.export(lowered(FUNCTIONS[name]), REAL, strict=False)
    got = traced.module()(*REAL)
    want = torch.view_as_real(want.resolve_conj()) if want.is_complex() else want
    assert got.shape == want.shape and torch.allclose(got, want, rtol=1e-4, atol=1e-5)


def test_an_operation_without_a_rule_is_named():
    with pytest.raises(ConfigError, match=r"the operation exp of complex numbers .*safetensors"):
        lowered(lambda z, w, x: torch.exp(z))
