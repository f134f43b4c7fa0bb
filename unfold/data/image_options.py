"""What is said of images, of photographs and of volumes alike: channels, crops, intensities."""

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from unfold.data.batches import TrainCrops
from unfold.data.dataset import CHANNELS, Data
from unfold.data.example import Picture
from unfold.data.intensity import Interval
from unfold.errors import ConfigError
from unfold.parameters.bounds import bounded, finite, whole


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageOptions(Data, ABC):
    """Images, cropped, flipped and rotated at random in training.

    Args:
        channels: 1 for grey, 3 for red, green and blue.
        crop: side of a training image, in pixels; None for whole images.
        flips: whether half of the training images are flipped left to right.
        rotations: whether training images are rotated by multiples of 90 degrees.
        multiple_of: of the sides of validation and test images, in pixels.
        intensity_range: the stored values [low, high] that are 0 and 1; None takes those of the
            type and of the file, as `unfold.data.intensity` says.
    """

    channels: Literal[1, 3] = bounded(1, CHANNELS)
    crop: int | None = bounded(None, whole(1), "in pixels")
    flips: bool = True
    rotations: bool = True
    multiple_of: int = bounded(8, whole(1), "in pixels")
    intensity_range: Sequence[float | int] | None = bounded(None, finite, "as stored")

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.intensity_range
        if given is not None and not (len(given) == 2 and given[0] < given[1]):
            raise ConfigError(
                f"intensity_range = {list(given)}: must be two numbers, [low, high], low < high; "
                "the stored values that are 0 and 1."
            )

    @property
    def stated(self) -> Interval | None:
        given = self.intensity_range
        return None if given is None else (float(given[0]), float(given[1]))

    @property
    def multiple(self) -> int:
        return self.multiple_of

    def crops(self, images: Sequence[Picture]) -> TrainCrops:
        """What is trained on of some images."""
        return TrainCrops(images, self.seed, self.crop, self.flips, self.rotations)
