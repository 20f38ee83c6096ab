"""The covariance of measurement noise between units, from what differs between repetitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean, name_some
from brainalign.responses import Responses, describe

Array = NDArray[np.float64]
Shrinkage = Literal["ledoit-wolf", "diagonal", "none"]


@dataclass(frozen=True)
class NoiseCovariance:
    """A covariance of units, held as a diagonal plus a product of residuals, never as a square of all units.

    Attributes
    ----------
    diagonal : ndarray, shape (n_units,)
        The part that shrinkage adds.
    factor : ndarray, shape (n_residuals, n_units)
        The covariance is ``diag(diagonal) + factor.T @ factor``.
    shrinkage : float
        Share of the target, 0 to 1.
    dof : int
        Degrees of freedom of the residuals.
    """

    diagonal: Array
    factor: Array
    shrinkage: float
    dof: int

    def matrix(self) -> Array:
        """Return the covariance, shape (n_units, n_units)."""
        matrix: Array = np.diag(self.diagonal) + self.factor.T @ self.factor
        return matrix

    def kernel(self, first: Array, second: Array) -> Array:
        """Return products of patterns under the inverse of the covariance.

        Parameters
        ----------
        first, second : ndarray, shape (n_first, n_units) and (n_second, n_units)
            Response patterns.

        Returns
        -------
        ndarray, shape (n_first, n_second)
            ``first @ inverse(covariance) @ second.T``.
        """
        if self.shrinkage == 0:
            plain: Array = first @ np.linalg.solve(self.matrix(), second.T)
            return plain
        # The inverse by Woodbury's identity: a system of residuals, which are fewer than voxels as a rule.
        scaled = self.factor / self.diagonal
        inner = np.eye(len(self.factor)) + scaled @ self.factor.T
        kernel: Array = (first / self.diagonal) @ second.T - (first @ scaled.T) @ np.linalg.solve(
            inner, scaled @ second.T
        )
        return kernel


def noise_covariance(responses: Responses, shrinkage: Shrinkage = "ledoit-wolf") -> NoiseCovariance:
    """Estimate the covariance of the noise from the residuals of repetitions around their mean.

    Parameters
    ----------
    responses : Responses
        Dims ``(repetition, stimulus, unit)``, at least two repetitions.
    shrinkage : {'ledoit-wolf', 'diagonal', 'none'}
        Towards a multiple of the identity (Ledoit & Wolf 2004), towards the diagonal (Schäfer & Strimmer 2005, on the
        scale of correlations), or not at all, which needs more residuals than units. The share is estimated.

    Returns
    -------
    NoiseCovariance
        Scaled by the degrees of freedom of the residuals, n_stimuli (n_repetitions - 1).

    Raises
    ------
    MeasureError
        If there are no two repetitions, a unit has no noise at all (it is named), or there are too few residuals.

    References
    ----------
    Ledoit, O. & Wolf, M. (2004). J. Multivar. Anal. 88, 365-411. Schäfer, J. & Strimmer, K. (2005). Stat. Appl. Genet.
    Mol. Biol. 4, 32.
    """
    if shrinkage not in get_args(Shrinkage):
        raise MeasureError(f"no shrinkage {shrinkage!r}; {did_you_mean(shrinkage, get_args(Shrinkage))}")
    n_repetitions = responses.sizes.get("repetition", 1)
    if n_repetitions < 2:
        raise MeasureError(
            f"{describe(responses)}: a noise covariance needs at least 2 repetitions, found {n_repetitions}; use a "
            f"distance without one, such as 'correlation'"
        )
    values = responses.values.astype(np.float64)
    residuals = (values - values.mean(axis=0)).reshape(-1, values.shape[2])
    dof = values.shape[1] * (n_repetitions - 1)
    silent = np.flatnonzero(~np.ptp(values, axis=0).any(axis=0))
    if len(silent):
        raise MeasureError(
            f"{describe(responses)}: {len(silent)} units answer all repetitions alike, such as "
            f"{name_some(responses['unit'].values[silent])}; without noise there is no noise covariance: leave them out"
        )
    if shrinkage == "none":
        if dof < values.shape[2]:
            raise MeasureError(
                f"{describe(responses)}: {dof} degrees of freedom do not give the noise covariance of "
                f"{values.shape[2]} units; use shrinkage 'ledoit-wolf' or 'diagonal'"
            )
        return NoiseCovariance(np.zeros(values.shape[2]), residuals / np.sqrt(dof), 0.0, dof)
    variance = np.einsum("ki,ki->i", residuals, residuals) / dof
    if shrinkage == "ledoit-wolf":
        share, target = _ledoit_wolf(residuals), np.full(values.shape[2], variance.mean())
    else:
        share, target = _schaefer_strimmer(residuals / np.sqrt(variance), dof), variance
    return NoiseCovariance(share * target, np.sqrt((1 - share) / dof) * residuals, share, dof)


def _ledoit_wolf(residuals: Array) -> float:
    """Return the share of the identity; norms of the covariance are those of the smaller product of residuals."""
    n, p = residuals.shape
    size = np.einsum("ki,ki->k", residuals, residuals)
    norm = np.linalg.norm(residuals @ residuals.T) ** 2 / n**2
    distance = norm - (size.sum() / n) ** 2 / p
    error = (np.sum(size**2) / n - norm) / n
    return float(np.clip(error / distance, 0, 1)) if distance > 0 else 1.0


def _schaefer_strimmer(standardised: Array, dof: int) -> float:
    """Return the share of the diagonal: summed variance of correlations over their summed squares, off the diagonal."""
    n, p = standardised.shape
    squares = standardised**2
    crossed = np.linalg.norm(standardised @ standardised.T) ** 2 - p * float(dof) ** 2
    raw = np.sum(squares.sum(axis=1) ** 2) - np.sum(squares**2)
    variance = n / float(dof) ** 3 * (raw - crossed / n)
    return float(np.clip(variance / (crossed / dof**2), 0, 1)) if crossed > 0 else 1.0
