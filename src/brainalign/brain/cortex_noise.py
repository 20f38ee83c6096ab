"""Noise that is correlated over places and over time, and what it does to reliability.

Correlated noise is ``time @ white @ place.T``: each row of the two factors has norm 1, so that white
noise of variance 1 keeps its variance everywhere, and correlations are the products of rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FWHM_PER_SD = float(np.sqrt(8 * np.log(2)))


def smoothing_factor(distance: Array, fwhm_mm: float) -> Array:
    """Return the matrix that smooths white noise with a Gaussian filter and keeps its variance.

    Noise so filtered has, on an even grid, the correlation exp(-d^2 / (4 sd^2)) at distance d, with sd the standard
    deviation of the filter; everywhere, and at the edges too, its correlation is exactly ``factor @ factor.T``.

    Parameters
    ----------
    distance : ndarray, shape (n_places, n_places)
        mm.
    fwhm_mm : float
        Full width at half maximum of the filter, which is cut off at 4 standard deviations; 0 leaves noise white.

    Returns
    -------
    ndarray, shape (n_places, n_places)
        Rows of norm 1.
    """
    if fwhm_mm == 0:
        return np.eye(len(distance))
    scaled = distance * (FWHM_PER_SD / fwhm_mm)
    factor = np.where(scaled <= 4, np.exp(-(scaled**2) / 2), 0)
    normalised: Array = factor / np.linalg.norm(factor, axis=1, keepdims=True)
    return normalised


def presentation_correlation(run_lengths: Sequence[int], autocorrelation: float, run_share: float) -> Array:
    """Return the correlation of noise between the presentations of a session.

    Within a run, noise is a first-order autoregressive process plus an offset of the run; runs are independent.

    Parameters
    ----------
    run_lengths : sequence of int
        Presentations in each run.
    autocorrelation : float
        Correlation of neighbours in the process without the offset.
    run_share : float
        Share of the offset in the variance, 0 to below 1.

    Returns
    -------
    ndarray, shape (n_presentations, n_presentations)
        In the order of presentation.
    """
    run = np.repeat(np.arange(len(run_lengths)), run_lengths)
    place = np.arange(len(run))
    process = autocorrelation ** np.abs(place[:, None] - place)
    correlation: Array = np.where(run[:, None] == run, (1 - run_share) * process + run_share, 0)
    return correlation


def visible_variance(correlation: Array) -> float:
    """Return the variance over presentations that noise of variance 1 is expected to show (n - 1 in the denominator).

    Parameters
    ----------
    correlation : ndarray, shape (n_presentations, n_presentations)
        Of the noise.

    Returns
    -------
    float
        1 less the mean correlation of two presentations, because what they share moves only their mean.
    """
    n = len(correlation)
    return float((n - correlation.sum() / n) / (n - 1))
