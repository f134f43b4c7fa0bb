"""The kernel of a lens: scipy's Bessel functions and quadrature are the references."""

import numpy as np
import scipy.integrate
import scipy.special
import torch

from unfold.physics.blur.kernels import LensKernel, lens
from unfold.random import Draws

DRAWS = Draws(seed=1, images=range(2), dtype=torch.float64)


def test_a_lens_in_focus_makes_the_pattern_of_airy():
    h = LensKernel(15, 2.5, 0.0).sample(DRAWS)[0, 0].numpy()
    u = np.arange(15) - 7.0
    v = 3.8317059702075125 * np.hypot(u[:, None], u) / 2.5
    want = np.divide(2 * scipy.special.j1(v), v, out=np.ones_like(v), where=v > 0) ** 2
    assert np.abs(h - want / want.sum()).max() < 1e-14
    assert LensKernel(9, 3.0, 0.0).sample(DRAWS)[0, 0, 4, 7] < 1e-20


def test_a_lens_out_of_focus_is_its_integral():
    """On the axis the integral is elementary: (sin(πW) / πW)² of what it is in focus."""
    tables = [lens(31, 2.0, w) for w in (0.0, 0.4, 3.0)]
    ratio = [np.sinc(w) ** 2 for w in (0.4, 3.0)]
    focus, near, far = (float(h[15, 15]) for h in tables)
    # What leaves the kernel changes the sums by some per mille.
    assert abs(near / focus / ratio[0] - 1) < 0.02 and far < 1e-6 * focus

    def part(v: float, f: np.ufunc) -> float:
        def wave(p: float) -> float:
            return f(2 * np.pi * 0.4 * p**2) * scipy.special.j0(v * p) * p

        return scipy.integrate.quad(wave, 0, 1, epsabs=1e-14)[0]

    def integral(v: float) -> float:
        return part(v, np.cos) ** 2 + part(v, np.sin) ** 2

    for place in (18, 25):
        want = integral(3.8317059702075125 * (place - 15) / 2.0) / integral(0.0)
        assert abs(float(tables[1][15, place] / tables[1][15, 15]) - want) < 1e-12
