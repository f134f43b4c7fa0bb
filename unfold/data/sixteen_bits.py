"""Colour images of 16 bits per channel, of which Pillow keeps the upper 8 only."""

import numpy as np
from PIL import Image as Pillow


def colour_of_sixteen_bits(picture: Pillow.Image, data: bytes) -> np.ndarray | None:
    """TODO."""
    return None
