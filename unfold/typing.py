"""The types of the quantities that travel through unfold.

Every tensor has the batch first. Images and measurements are real or complex; a complex image is
a complex tensor, never two channels.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from jaxtyping import Bool, Inexact
from torch import Tensor

Image = Inexact[Tensor, "batch channel height width"]
"""(B, C, H, W); intensities in [0, 1] by default."""

Measurement = Inexact[Tensor, "batch *measurement"]
"""(B, ...): what an operator makes of an image; its shape belongs to the operator."""

Field = Inexact[Tensor, "batch *field"]
"""(B, ...): any field of a state."""

PerImage = Inexact[Tensor, " batch"]
"""(B,): one number for each image."""

Flags = Bool[Tensor, " batch"]
"""(B,): one truth for each image."""

Shape = tuple[int, ...]
"""The shape of one image or measurement, without the batch."""

if TYPE_CHECKING:
    Scalar = float | Tensor
    DenoiserLevel = Scalar
else:
    # A recipe may hold a schedule or a list, one value per iteration; `Parameters.at` replaces it
    # by a number, so that a step always receives a float or a tensor.
    from unfold.parameters.schedules import Schedule

    Scalar = float | int | Tensor | Schedule | Sequence[Any]
    DenoiserLevel = Scalar | Literal["noise_level"]
