"""Tomography by the projectors of the ASTRA toolbox; it needs the extra `astra`.

ASTRA computes the weights of pixels once, on the CPU; the products are those of `Projector`, so
that they run where the images are, in their precision and with the exact transpose. The weights
have 24 bits, as ASTRA stores them; the matrix and its transpose take 24 bytes for each, 1 GB for
180 angles of 256 x 256 pixels.

Source: van Aarle et al., Fast and flexible X-ray tomography using the ASTRA toolbox, Optics Express
24 (2016).
"""

from dataclasses import dataclass, replace

import numpy as np

from unfold.errors import ConfigError
from unfold.extras import optional
from unfold.parameters.bounds import bounded, one_of
from unfold.physics.ct.projector import Fan, Parallel
from unfold.physics.ct.rays import Geometry, Weighting, Weights
from unfold.physics.ct.tomography import FanScan, ParallelScan
from unfold.typing import Shape


@dataclass(frozen=True)
class AstraWeights(Weighting):
    """ASTRA's weights of the pixels.

    Args:
        projector: ASTRA's name of the weights.
        kind: ASTRA's name of such a scan.
        spacing: from one detector to the next, in pixels.
        distances: of source and screen from the centre, for a fan, in pixels.
    """

    projector: str
    kind: str
    spacing: float = 1.0
    distances: tuple[float, ...] = ()

    def weights(self, geometry: Geometry, height: int, width: int) -> Weights:
        astra, angles = optional("astra", "astra"), np.deg2rad(geometry.angles)
        lengths = self.spacing, geometry.detectors, angles, *self.distances
        scan = astra.create_proj_geom(self.kind, *lengths)
        made = astra.create_projector(self.projector, scan, astra.create_vol_geom(height, width))
        matrix = astra.projector.matrix(made)
        rows = astra.matrix.get(matrix)
        astra.matrix.delete(matrix)
        astra.projector.delete(made)
        line = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        return line, rows.indices.astype(np.int64), rows.data


@dataclass(frozen=True)
class AstraTomography(ParallelScan):
    """y = line integrals along parallel rays with noise, with the weights of ASTRA.

    Angles, detectors and lengths are those of `Tomography`.

    Args:
        projector: `strip`, a ray as wide as a detector, by the area it shares with a pixel;
            `linear`, a thin ray, by interpolation, as `Tomography` does; `line`, a thin ray, by its
            length in a pixel.
    """

    projector: str = bounded("strip", one_of("strip", "linear", "line"))

    def __post_init__(self) -> None:
        super().__post_init__()
        optional("astra", "astra")
        if self.axis:
            raise ConfigError(f"AstraTomography.axis = {self.axis}: must be 0; use Tomography.")

    def geometry(self, shape: Shape) -> Parallel:
        weighting = AstraWeights(self.projector, "parallel")
        return replace(super().geometry(shape), projector=weighting)


@dataclass(frozen=True)
class AstraFanBeamTomography(FanScan):
    """y = line integrals from a point source that turns about the image, by ASTRA.

    Angles, detectors and lengths are those of `FanBeamTomography`.

    Args:
        projector: `strip`, a beam onto a whole detector; `line`, a thin ray, by its length in a
            pixel.
    """

    projector: str = bounded("strip", one_of("strip", "line"))

    def __post_init__(self) -> None:
        super().__post_init__()
        optional("astra", "astra")

    def geometry(self, shape: Shape) -> Fan:
        rays = super().geometry(shape)
        name, distances = f"{self.projector}_fanflat", (rays.source, rays.screen)
        weighting = AstraWeights(name, "fanflat", rays.spacing, distances)
        return replace(rays, projector=weighting)
