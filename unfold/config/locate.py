"""Where the packaged configuration files are: in a checkout, or in an installed wheel."""

from pathlib import Path

import unfold
from unfold.errors import RunError


def package_folder() -> Path:
    """The folder of the package itself."""
    return Path(unfold.__path__[0]).resolve()


def configs_folder() -> Path:
    """The folder of `train.yaml`: `unfold/configs` in a wheel, `configs` beside it in a checkout.

    Raises:
        RunError: neither is there, so that the installation is incomplete.
    """
    package = package_folder()
    places = (package / "configs", package.parent / "configs")
    for place in places:
        if (place / "train.yaml").is_file():
            return place
    looked = " and ".join(str(place) for place in places)
    raise RunError(
        f"The configuration files are missing: looked in {looked}. Install unfold again."
    )
