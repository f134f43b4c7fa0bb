"""Measured frequencies of magnetic resonance: `data=kspace`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from unfold.data.example import Example
from unfold.data.measured import MeasuredData
from unfold.data.normalize import ONE_CHANNEL, divisors, scaled, size_of
from unfold.data.readers.kspace import READ, Scan, open_scan
from unfold.errors import DataError
from unfold.parameters.bounds import bounded, whole
from unfold.physics.mri.cartesian import back
from unfold.physics.mri.coils import ESPIRIT, combine, estimate_maps
from unfold.physics.wrapped import central

LOW = 24
"""Frequencies along a side from which an image is made whose size every measurement knows."""


@dataclass(frozen=True, eq=False, kw_only=True)
class KspaceData(MeasuredData):
    """Frequencies that scanners measured, slice by slice; images are complex.

    An example has the measurement y, frequency 0 at index 0, of one coil (1, H, W) or of J coils
    (1, J, H, W); the maps S of several coils; the mask of what was acquired, where it is not all;
    and, where all was, the image Σ_j S̄_j F⁻¹y_j, or F⁻¹y of one coil.

    Args:
        key: the name of the array in a file; None for `kspace`, or the only one.
        centred: whether frequency 0 is in the middle of the files, as of fastMRI, ISMRMRD and
            BART; else at index 0.
        volume: whether an array of four axes is (J, X, H, W), encoded along X as well.
        readout: pixels of the images along H that are kept, in the middle, as a readout is
            oversampled; None for all.
        maps: `espirit`, or the name of an array of each file; needed for several coils.
        calibration: side of the region of `espirit`, in frequencies.
        compress: coils that are kept, of those combinations with the most signal; None for all.
        noise: the name of an array of each file, samples of the noise (J, n) or its covariance
            (J, J), by which the coils are made independent and of equal noise; None for neither.
        normalize: what an example is divided by: a number; `none`; of the image the `max` or the
            99 % `percentile`; or `measurement`, the maximum of the image of its central 24 x 24
            frequencies, which is known without a true image.

    Source: Zbontar et al., fastMRI, arXiv:1811.08839 (2018), for the files; Roemer et al., The NMR
    phased array, Magnetic Resonance in Medicine 16 (1990), for the combined image; Buehrer et al.,
    Array compression for MRI with large coil arrays, Magnetic Resonance in Medicine 57 (2007).
    """

    channels: int = bounded(1, ONE_CHANNEL)
    key: str | None = None
    centred: bool = True
    volume: bool = False
    readout: int | None = bounded(None, whole(1), "in pixels")
    maps: str = ESPIRIT
    calibration: int = bounded(24, whole(8), "in frequencies")
    compress: int | None = bounded(None, whole(1), "in coils")
    noise: str | None = None
    normalize: float | Literal["none", "max", "percentile", "measurement"] = bounded(
        "measurement", divisors("none", "max", "percentile", "measurement")
    )

    suffixes = READ
    reference = "coil-combined complex image"
    depends = ("key", "centred", "volume", "readout", "maps", "compress", "noise")

    def kinds(self, path: Path) -> list[tuple[Any, ...]]:
        scan = self._scan(path)
        return [self._read(scan, place, estimate=False).kind for place in range(scan.slices)]

    def read(self, path: Path, place: int) -> Example:
        return self._read(self._scan(path), place, estimate=True)

    def _scan(self, path: Path) -> Scan:
        return self.opened(
            path, lambda p: open_scan(p, self.key, volume=self.volume), lambda scan: scan.size
        )

    def _read(self, scan: Scan, place: int, *, estimate: bool) -> Example:
        """One example; without `estimate`, with zeros for maps that would be estimated."""
        k = torch.from_numpy(scan.read(place))
        self._expect_frequencies(scan, place, k)
        acquired = (k != 0).any(0)
        k = self._independent(scan, k)
        if self.centred:  # and so is the image: to frequency 0, and pixel 0, at index 0
            k = torch.fft.ifftshift(k, (-2, -1))
            acquired = torch.fft.ifftshift(acquired, (-2, -1))
        k = _at_middle(k)
        if self.readout is not None:
            k, acquired = self._cut(scan, k, acquired)
        if self.compress is not None:
            k = compressed(k, self.compress, self.calibration)
        parameters: dict[str, Tensor] = {}
        named = self.maps != ESPIRIT
        if len(k) > 1:
            parameters["maps"] = self._maps(scan, place, k) if estimate or named else 0 * k
        complete = bool(acquired.all())
        if not complete:
            k = acquired * k  # transforms left rounding there
            columns = acquired.all(0) | ~acquired.any(0)
            whole_columns = bool(columns.all())
            mask = acquired.any(0, keepdim=True) if whole_columns else acquired
            parameters["mask"] = mask.to(torch.float32)[None]
        full = combine(back(k), parameters["maps"]) if len(k) > 1 else back(k[0])
        image = full[None] if complete else None
        metadata: dict[str, Any] = {"file": str(scan.path), "slice": place}
        if "max" in scan.header and self.noise is None:  # which changes the unit
            metadata["maximum"] = float(scan.header["max"])
        example = Example(image, k[None] if len(k) > 1 else k, parameters, metadata)
        return scaled(example, self._size(scan, place, k, image))

    def _size(self, scan: Scan, place: int, k: Tensor, image: Tensor | None) -> float:
        if self.normalize == "measurement":
            return float(low_resolution(k).max())
        if image is None and self.normalize in ("max", "percentile"):
            raise DataError(
                f"{scan.path}, slice {place}: normalize = {self.normalize} needs the image, and "
                "not all frequencies were acquired; use measurement, or a number."
            )
        return size_of(k if image is None else image, self.normalize)

    def _expect_frequencies(self, scan: Scan, place: int, k: Tensor) -> None:
        """Refuse what cannot be meant: numbers that are not finite, none at all, or shifted."""
        where, energy = f"{scan.path}, slice {place}", _squared(k)
        if not bool(energy.sum().isfinite()):
            if len(bad := (~torch.isfinite(k)).nonzero()):
                first = bad[0].tolist()
                raise DataError(
                    f"{where}: {len(bad)} frequencies are not finite, the first at {first}."
                )
            energy = _squared(k.to(torch.complex128))
        if not bool(energy.any()):
            raise DataError(f"{where}: all frequencies are 0.")
        sizes = k.shape[-2:]
        peak = [int(energy.sum(1 - axis).argmax()) for axis in (0, 1)]
        middle = [n // 2 if self.centred else 0 for n in sizes]
        apart = [min((p - m) % n, (m - p) % n) for p, m, n in zip(peak, middle, sizes, strict=True)]
        if any(d > n / 4 for d, n in zip(apart, sizes, strict=True)):
            remedy = f"data.centred={str(not self.centred).lower()}"
            raise DataError(
                f"{where}: most energy is at {peak} of {tuple(sizes)}, and frequency 0 is expected "
                f"at {middle}. Set {remedy}, or shift the frequencies by numpy.fft.fftshift."
            )

    def _independent(self, scan: Scan, k: Tensor) -> Tensor:
        """Coils of independent noise of variance 1, W k with WᴴW the inverse of its covariance."""
        if self.noise is None:
            return k
        found = scan.named(self.noise, "data.noise").astype(np.complex128)
        samples = found.reshape(len(found), -1)
        if len(samples) != len(k):
            raise DataError(
                f"{scan.path}: noise of {len(samples)} coils, and {len(k)} were measured."
            )
        square = samples.shape[1] == len(k) and np.allclose(samples, samples.conj().T)
        covariance = samples if square else samples @ samples.conj().T / samples.shape[1]
        whitening = np.linalg.inv(np.linalg.cholesky(covariance))
        return torch.einsum("ij,jhw->ihw", torch.from_numpy(whitening).to(k.dtype), k)

    def _cut(self, scan: Scan, k: Tensor, acquired: Tensor) -> tuple[Tensor, Tensor]:
        height = k.shape[-2]
        assert self.readout is not None
        if self.readout > height:
            raise DataError(f"{scan.path}: readout = {self.readout}, of {height} pixels.")
        if not bool((acquired.any(0) == acquired.all(0)).all()):
            raise DataError(
                f"{scan.path}: a readout that is not acquired whole cannot be cut; set "
                "data.readout=null."
            )
        first = (height - self.readout) // 2
        lines = torch.fft.ifft(k, dim=-2, norm="ortho")[..., first : first + self.readout, :]
        return torch.fft.fft(lines, dim=-2, norm="ortho"), acquired[: self.readout]

    def _maps(self, scan: Scan, place: int, k: Tensor) -> Tensor:
        if self.maps == ESPIRIT:
            side = min(self.calibration, *k.shape[-2:])
            return estimate_maps(k[None], calibration=side)[0]
        named = scan.named(self.maps, "data.maps, or data.maps=espirit")
        found = torch.from_numpy(named.astype(np.complex64))
        found = found[place] if found.ndim == 4 and len(found) == scan.slices else found
        if found.shape != k.shape:
            raise DataError(
                f"{scan.path}: maps of {tuple(found.shape)} for frequencies of {tuple(k.shape)}."
            )
        return found


def _at_middle(k: Tensor) -> Tensor:
    """The frequencies of images whose pixel 0 moves to n // 2: k_j exp(−2πi j (n // 2) / n)."""
    for axis, n in ((-1, k.shape[-1]), (-2, k.shape[-2])):
        turns = torch.arange(n) * (n // 2) % n / n  # of few values where n is even, all exact
        k = k * torch.polar(torch.ones(n), -2 * torch.pi * turns).reshape(-1, *[1] * (-1 - axis))
    return k


def _squared(k: Tensor) -> Tensor:
    """Σ_j |k_j|², (H, W)."""
    return (k.real.square() + k.imag.square()).sum(0)


def low_resolution(k: Tensor) -> Tensor:
    """The root of the sum of squares of the coils' images of the central frequencies, (H, W)."""
    low, (rows, columns) = torch.zeros_like(k), central(k.shape[-2:], LOW)
    low[:, rows, columns] = k[:, rows, columns]
    return _squared(back(low)).sqrt()


def compressed(k: Tensor, coils: int, calibration: int) -> Tensor:
    """The combinations of coils with the most energy among the central frequencies."""
    if coils >= len(k):
        return k
    rows, columns = central(k.shape[-2:], calibration)
    middle = k[:, rows, columns].flatten(1)
    u, _, _ = torch.linalg.svd(middle, full_matrices=False)
    return torch.einsum("ji,jhw->ihw", u[:, :coils].conj(), k)
