"""Where the images of a run come from: `data`."""

from typing import Literal

from unfold.data.files import embedded_files, folder_files
from unfold.data.image_data import ImageData as ImageData
from unfold.data.store import ImageFile
from unfold.errors import ConfigError


class EmbeddedData(ImageData):
    """The twelve grey photographs that come with unfold: nothing is downloaded.

    Eight of 256x256 pixels to train on, two of 128x128 to validate on and two to test on. They
    are enough to compare methods, not to publish numbers.

    Args:
        seed: of the order and the crops.
        channels: 1; the photographs are grey.
        crop: at most 256, in pixels.
        batch_size: training images per step, of all devices together.
        evaluation_batch_size: the most validation or test images at a time.
        crops_per_image: 25 make an epoch of 200 crops, 25 steps of 8.
        multiple_of: of the sides of validation and test images, at most 128 pixels.
        workers: processes that prepare batches; 0 for none.

    Raises:
        ConfigError: a number is out of its range, or `channels` is not 1.
    """

    def __init__(
        self,
        seed: int,
        channels: Literal[1, 3] = 1,
        crop: int = 64,
        batch_size: int = 8,
        evaluation_batch_size: int = 8,
        crops_per_image: int = 25,
        multiple_of: int = 8,
        workers: int = 0,
    ) -> None:
        super().__init__(
            seed,
            channels,
            crop,
            batch_size,
            evaluation_batch_size,
            crops_per_image,
            multiple_of,
            workers,
        )
        if channels != 1:
            raise ConfigError(
                f"channels = {channels}: the embedded photographs are grey, so it must be 1. "
                "For colour, write data=folder data.root=DIRECTORY."
            )

    def files(self) -> dict[str, tuple[ImageFile, ...]]:
        return embedded_files()


class FolderData(ImageData):
    """Images of a folder, and of one folder each to validate and to test on, if there are.

    Where there is none, a tenth of `root`, at least 1 and at most 20 images, is kept apart, chosen
    by a hash of the file names.

    Args:
        seed: of the order and the crops.
        root: a folder of PNG, JPEG, TIFF or BMP files, at any depth.
        validation_root: a folder of images to validate on; None to take them from `root`.
        test_root: a folder of images to test on; None to take them from `root`.
        channels: 1 for grey, 3 for red, green and blue.
        crop: side of a training image, in pixels.
        batch_size: training images per step, of all devices together.
        evaluation_batch_size: the most validation or test images at a time.
        crops_per_image: crops of each image in an epoch.
        multiple_of: of the sides of validation and test images, in pixels.
        workers: processes that prepare batches; 0 for none.

    Raises:
        ConfigError: a number is out of its range.
    """

    def __init__(
        self,
        seed: int,
        root: str,
        validation_root: str | None = None,
        test_root: str | None = None,
        channels: Literal[1, 3] = 1,
        crop: int = 64,
        batch_size: int = 8,
        evaluation_batch_size: int = 8,
        crops_per_image: int = 25,
        multiple_of: int = 8,
        workers: int = 0,
    ) -> None:
        super().__init__(
            seed,
            channels,
            crop,
            batch_size,
            evaluation_batch_size,
            crops_per_image,
            multiple_of,
            workers,
        )
        self.root, self.validation_root, self.test_root = root, validation_root, test_root

    def files(self) -> dict[str, tuple[ImageFile, ...]]:
        return folder_files(self.root, self.validation_root, self.test_root)
