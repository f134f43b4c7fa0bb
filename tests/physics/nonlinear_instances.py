"""Maps that are not linear, alone and as parts of others."""

import torch
from torch import Tensor

from tests.engine import blur
from unfold.physics.algebra import Composed, Stacked
from unfold.physics.batch import Grouped, Packed
from unfold.physics.blur.saturation import Saturated
from unfold.physics.custom.functions import NonlinearFunction
from unfold.physics.denoising import Identity
from unfold.physics.inpainting import Mask
from unfold.physics.mri.cartesian import Fourier
from unfold.physics.nonlinear import NonlinearOperator
from unfold.physics.operator import Operator
from unfold.physics.wrapped import RealImages, Scaled
from unfold.random import Draws

REAL, COMPLEX = torch.float64, torch.complex128
DRAWS = Draws(seed=4, images=range(3), dtype=REAL)
SHAPE = (1, 4, 5)
X, V = DRAWS.uniform("x", SHAPE), DRAWS.normal("v", SHAPE)


def squares(x: Tensor) -> Tensor:
    """Of every pixel and of the differences along rows, as two channels."""
    return torch.cat((x**2, (x - x.roll(1, -1)) ** 2 + x), 1)


def squares_vjp(x: Tensor, u: Tensor) -> Tensor:
    first, second = u[:, :1], u[:, 1:]
    rough = 2 * (x - x.roll(1, -1)) * second
    return 2 * x * first + second + rough - rough.roll(-1, -1)


def phases(x: Tensor) -> Tensor:
    return torch.exp(1j * x) * x.flip(-1)


class Intensity(NonlinearOperator):
    """|Fx|² of complex images."""

    image_shape = measurement_shape = SHAPE
    complex_images, complex_measurements = True, False

    def forward(self, x):
        return torch.fft.fft2(x, norm="ortho").abs() ** 2


SENSOR = Saturated(blur(5, batch=3), 1.4, 6.0)
SQUARES = NonlinearFunction(squares, SHAPE, (2, 4, 5))
SMALL = Saturated(Mask(DRAWS.uniform("m", SHAPE)), 1.3, 5.0)
FOURIER = RealImages(Fourier(torch.ones(1, 1, 4, 5, dtype=REAL), SHAPE))
SCALES = torch.tensor([0.5, -2.0, 3.0], dtype=REAL)
OPERATORS: dict[str, tuple[Operator, torch.dtype]] = {
    "saturated": (SENSOR, REAL),
    "function": (SQUARES, REAL),
    "function with its vjp": (
        NonlinearFunction(squares, SHAPE, (2, 4, 5), vjp_function=squares_vjp, grey=0.3),
        REAL,
    ),
    "function to complex": (NonlinearFunction(phases, SHAPE, SHAPE, complex_y=True), REAL),
    "complex": (Intensity(), COMPLEX),
    "after a linear one": (Composed(SQUARES, SMALL.operator), REAL),
    "before a linear one": (Composed(Mask(torch.ones(1, 2, 4, 5, dtype=REAL)), SQUARES), REAL),
    "one after another": (Composed(SQUARES, SMALL), REAL),
    "stacked": (Stacked((SMALL, Identity(SHAPE), SQUARES)), REAL),
    "stacked with complex ones": (Stacked((SMALL, FOURIER)), REAL),
    "grouped": (
        Grouped((SMALL.take(torch.tensor([0, 2]), 3), Identity(SHAPE)), (0, 1, 0)),
        REAL,
    ),
    "scaled": (Scaled(SMALL, SCALES), REAL),
    "packed": (Packed(SMALL, 23, True), REAL),
    "of real images": (RealImages(Intensity()), REAL),
    "of complex measurements": (Composed(Intensity(), FOURIER), REAL),
    "before a complex one": (
        Composed(
            Fourier(torch.ones(1, 1, 4, 5, dtype=REAL), SHAPE),
            NonlinearFunction(phases, SHAPE, SHAPE, complex_y=True),
        ),
        REAL,
    ),
}
