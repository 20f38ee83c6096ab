"""A simulated scanner: its grid and regions, its haemodynamics, its noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from brainalign.brain.cortex_noise import smoothing_factor
from brainalign.errors import BrainError, did_you_mean

Array = NDArray[np.float64]
Hrf = Literal["glover", "spm", "none"]

#: Middles of the regions in the left half of the brain (to the right, front and top; it reaches from -1 to 1), and how
#: strong their signal is.
REGIONS: dict[str, tuple[tuple[float, float, float], float]] = {
    "auditory_primary": ((-0.55, -0.1, 0), 1.0),
    "auditory_anterior": ((-0.6, 0.3, -0.25), 0.8),
    "auditory_posterior": ((-0.6, -0.45, 0.2), 0.8),
    "motor": ((-0.4, 0.05, 0.7), 0),
    "frontal": ((-0.35, 0.75, 0.25), 0),
    "orbital": ((-0.3, 0.6, -0.5), 0),
    "parietal": ((-0.35, -0.55, 0.65), 0),
    "occipital": ((-0.25, -0.8, 0), 0),
    "temporal": ((-0.5, -0.1, -0.65), 0),
    "medial": ((-0.15, 0, 0.1), 0),
}
#: Steps per volume in which the haemodynamic response is computed.
OVERSAMPLING = 10


@dataclass(frozen=True)
class Scanner:
    """How simulated images are measured.

    Attributes
    ----------
    repetition_time_s : float
        Seconds per volume.
    grid : tuple of 3 ints
        Voxels of the image; the brain is the ellipsoid in it.
    voxel_mm : float
        Edge of a voxel.
    snr : float
        Standard deviation over time of the signal, divided by that of the noise, in the voxels of the region with the
        strongest signal.
    hrf : {'glover', 'spm', 'none'}
        Haemodynamic response, as nilearn defines it, or none: the signal follows the sounds at once.
    smoothness_mm : float
        Full width at half maximum of the Gaussian filter that makes noise, drift and weights smooth in space.
    autocorrelation : float
        Correlation of the noise of a volume and the next (first-order autoregressive).
    drift : float
        Standard deviation over time of the slow drift (half a cycle and one cycle of a cosine per run), divided by that
        of the noise.
    """

    repetition_time_s: float = 1.5
    grid: tuple[int, int, int] = (18, 18, 12)
    voxel_mm: float = 3.0
    snr: float = 0.2
    hrf: Hrf = "glover"
    smoothness_mm: float = 6.0
    autocorrelation: float = 0.4
    drift: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for what, low, high in (
            ("repetition_time_s", 0.1, 20),
            ("voxel_mm", 0.1, 20),
            ("snr", 0, 20),
            ("smoothness_mm", 0, 50),
            ("autocorrelation", 0, 0.99),
            ("drift", 0, 20),
        ):
            if not low <= getattr(self, what) <= high:
                raise BrainError(f"{what} must be {low} to {high}, found {getattr(self, what)}")
        if len(self.grid) != 3 or not all(6 <= n <= 128 for n in self.grid):
            raise BrainError(f"the grid must be three numbers of voxels, each 6 to 128, found {self.grid}")
        if self.hrf not in ("glover", "spm", "none"):
            raise BrainError(
                f"no haemodynamic response {self.hrf!r}; {did_you_mean(self.hrf, ('glover', 'spm', 'none'))}"
            )

    @property
    def affine(self) -> Array:
        """From voxel indices to mm, the middle of the brain at 0."""
        affine = np.diag([self.voxel_mm] * 3 + [1.0])
        affine[:3, 3] = -self.voxel_mm * (np.array(self.grid) - 1) / 2
        return affine

    @cached_property
    def atlas(self) -> NDArray[np.int16]:
        """Number of the region of each voxel of the grid, 1 on; 0 outside the brain."""
        axes = [np.linspace(-1 + 1 / n, 1 - 1 / n, n) for n in self.grid]
        place = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        left = np.array([middle for middle, _ in REGIONS.values()])
        middles = np.concatenate([left, left * [-1, 1, 1]])
        nearest = np.linalg.norm(place[..., None, :] - middles, axis=-1).argmin(axis=-1)
        atlas: NDArray[np.int16] = np.where((place**2).sum(axis=-1) <= 1, nearest + 1, 0).astype(np.int16)
        return atlas

    @property
    def region_names(self) -> tuple[str, ...]:
        """Names of the regions 1, 2, ..."""
        return tuple(f"{side}_{region}" for side in "LR" for region in REGIONS)

    @cached_property
    def _filters(self) -> list[NDArray[np.float32]]:
        steps = [np.abs(np.subtract.outer(np.arange(n), np.arange(n))) * self.voxel_mm for n in self.grid]
        return [smoothing_factor(d, self.smoothness_mm).astype(np.float32) for d in steps]

    def smooth_noise(self, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return `n` images of Gaussian noise of variance 1, smooth in space.

        Parameters
        ----------
        n : int
            How many.
        rng : numpy Generator
            The source of randomness.

        Returns
        -------
        ndarray, shape (n, n_voxels)
            The voxels of the brain in C order of the grid, as nilearn's maskers have them.
        """
        values = rng.standard_normal((n, *self.grid), dtype=np.float32)
        # Each product brings the next axis of the grid to the end; after three they are in order again.
        for matrix in self._filters:
            values = np.moveaxis(values, 1, -1) @ matrix.T
        return values[:, self.atlas > 0]

    def noise(self, n_volumes: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return the noise of a run: autoregressive with variance 1, plus drift.

        Parameters
        ----------
        n_volumes : int
            Length of the run.
        rng : numpy Generator
            The source of randomness.

        Returns
        -------
        ndarray, shape (n_volumes, n_voxels)
            In units of its standard deviation without the drift.
        """
        from scipy.signal import lfilter

        innovation = self.smooth_noise(n_volumes, rng)
        innovation[1:] *= np.float32(np.sqrt(1 - self.autocorrelation**2))
        recursion = np.array([1, -self.autocorrelation], dtype=np.float32)
        process = lfilter(recursion[:1], recursion, innovation, axis=0)
        phase = np.pi * (np.arange(n_volumes) + 0.5) / n_volumes
        cosines = np.cos(np.outer(phase, [1, 2])).astype(np.float32)
        noise: NDArray[np.float32] = process + np.float32(self.drift) * cosines @ self.smooth_noise(2, rng)
        return noise

    def convolve(self, fine: Array) -> Array:
        """Return what the haemodynamic response makes of a time course.

        Parameters
        ----------
        fine : ndarray, shape (OVERSAMPLING * n_volumes, n_features)
            The time course in steps of a tenth of the repetition time.

        Returns
        -------
        ndarray, shape (n_volumes, n_features)
            At the beginning of each volume; the response has sum 1.
        """
        from nilearn.glm.first_level import glover_hrf, spm_hrf
        from scipy.signal import fftconvolve

        if self.hrf != "none":
            shape = {"glover": glover_hrf, "spm": spm_hrf}[self.hrf]
            response = shape(self.repetition_time_s, oversampling=OVERSAMPLING, time_length=32.0)
            fine = fftconvolve(fine, response[:, None], axes=0)[: len(fine)]
        return fine[::OVERSAMPLING]
