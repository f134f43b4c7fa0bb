"""The parts that configs/ ships, built small and in double precision: a new file is tested too."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from unfold.config.options import configs_folder
from unfold.config.targets import resolve

SMALL = {"depth": 3, "width": 4, "levels": 2, "tol": 1e-9, "max_iterations": 5000}
"""What makes a part small, or its inner iteration exact."""


EXTRAS = {
    "alista_m250_n500": "no file to read",
    "alista_m250_n500_snr20": "no file to read",
    "arrays": "no file to read",
    "astra_fan_beam_tomography": "astra",
    "astra_tomography": "astra",
    "deepinv": "deepinv",
    "monai": "monai",
    "functions": "no function of the user",
    "levin_blur": "no file to read",
    "lista_cp_m250_n500": "no file to read",
    "lista_cpss_m250_n500": "no file to read",
    "lista_m250_n500": "no file to read",
    "matrix": "no file to read",
    "mlflow": "mlflow",
    "multicoil_radial_mri": "finufft",
    "nonlinear_functions": "no function of the user",
    "radial_mri": "finufft",
    "spiral_mri": "finufft",
    "wandb": "wandb",
}
"""Options that need a package, or a file, which the tests do without; each has its own tests."""


def files(group: str) -> dict[str, Path]:
    """The options of a group by name, without those that need an extra package."""
    found = sorted((configs_folder() / group).glob("*.yaml"))
    return {path.stem: path for path in found if path.stem not in EXTRAS}


def build(path: Path, **changes: Any) -> Any:
    """What a file describes, with small sizes and one channel."""
    whole = OmegaConf.create({"data": {"channels": 1}, "part": OmegaConf.load(path)})
    return _built(OmegaConf.to_container(whole, resolve=True)["part"], SMALL | changes)


def _built(node: Any, changes: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return tuple(_built(item, changes) for item in node)
    if not isinstance(node, dict):
        return 0.01 if node == "noise_level" else node
    held = {k: v for k, v in node.items() if k not in ("_target_", "defaults")}
    arguments = {k: changes.get(k, _built(v, changes)) for k, v in held.items()}
    return resolve(node["_target_"])(**arguments)
