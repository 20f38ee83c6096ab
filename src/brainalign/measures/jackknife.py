"""Intervals from leaving out one stimulus at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def jackknife_interval(
    values: Array, left_out: Array, limits: tuple[float, float], level: float
) -> tuple[Array, Array]:
    """Return limits for statistics with a bounded range, from the same statistics without each stimulus.

    Resamples with copies hold fewer different stimuli than the data, which moves any statistic that depends on how many
    there are: alignment, canonical correlations, dimensionality. Leaving out one stimulus hardly moves it, and the
    jackknife variance is too large rather than too small on average, whatever the statistic (Efron & Stein).

    Parameters
    ----------
    values : ndarray, shape (...)
        The statistics of the data.
    left_out : ndarray, shape (n_stimuli, ...)
        The statistics without each stimulus.
    limits : tuple of float
        Lowest and highest possible value; t intervals with n_stimuli - 1 degrees of freedom are taken on the logit
        scale between them, so that they stay inside.
    level : float
        Coverage of what the statistic is on average over sets of as many stimuli.

    Returns
    -------
    low, high : ndarray, shape (...)
        The limits, NaN where the statistics are.

    References
    ----------
    Efron, B. & Stein, C. (1981). The jackknife estimate of variance. Ann. Stat. 9, 586-596.
    """
    from scipy.special import expit, logit, stdtrit

    n, (lowest, highest) = len(left_out), limits
    # The scale is infinite at the ends, where what differs between statistics (roots of 1e-16) is rounding.
    theta, without = (
        logit(np.clip((x - lowest) / (highest - lowest), 1e-7, 1 - 1e-7)) for x in (np.asarray(values), left_out)
    )
    error = np.sqrt((n - 1) * without.var(axis=0))
    reach = stdtrit(n - 1, (1 + level) / 2) * error
    low, high = (lowest + (highest - lowest) * expit(theta + side * reach) for side in (-1, 1))
    return np.minimum(low, values), np.maximum(high, values)


def lone_stimulus(x: Array) -> int | None:
    """Return the row that alone differs from all others: without it nothing is left to measure."""
    slack = 1e-12 * np.abs(x).max()
    for reference in (0, 1):
        differs = np.flatnonzero((np.abs(x - x[reference]) > slack).any(axis=1))
        if len(differs) == 1:
            return int(differs[0])
    return None
