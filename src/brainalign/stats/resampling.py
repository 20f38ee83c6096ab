"""Bootstrap intervals.

A bootstrap sample is held as counts: how often each observation was drawn. Statistics that take
weights (means, correlations, RDM comparisons) are then computed for all samples in a few matrix
products, and a stimulus that was drawn twice is a weight of 2, not two copies with a distance of
zero between them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.errors import MeasureError
from brainalign.stats._checks import (
    FloatArray,
    check_choice,
    check_level,
    plain,
    strata_members,
)


@dataclass(frozen=True)
class BootstrapInterval:
    """Result of :func:`bootstrap_interval`.

    Attributes
    ----------
    estimate : float or ndarray
        The statistic of the data themselves, not the mean over bootstrap samples.
    low, high : float or ndarray
        Limits of the interval.
    standard_error : float or ndarray
        Standard deviation over the bootstrap samples.
    level : float
        The confidence level.
    method : str
        ``"bca"`` or ``"percentile"``.
    n : int
        Number of observations that were resampled.
    n_resamples : int
        Number of bootstrap samples.
    """

    estimate: float | FloatArray
    low: float | FloatArray
    high: float | FloatArray
    standard_error: float | FloatArray
    level: float
    method: str
    n: int
    n_resamples: int


def bootstrap_counts(
    n: int, n_resamples: int, rng: np.random.Generator, *, strata: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Draw bootstrap samples, as counts of each observation.

    Parameters
    ----------
    n : int
        Number of observations.
    n_resamples : int
        Number of bootstrap samples.
    rng : numpy Generator
        The source of randomness.
    strata : array_like, shape (n,), optional
        Labels; each stratum is resampled by itself and keeps its size.

    Returns
    -------
    ndarray of int, shape (n_resamples, n)
        Each row sums to `n`.

    Raises
    ------
    MeasureError
        For fewer than 2 observations or 1 sample, or a stratum with a single member.
    """
    if n < 2 or n_resamples < 1:
        raise MeasureError(f"a bootstrap needs at least 2 observations and 1 sample, found {n} and {n_resamples}")
    counts = np.empty((n_resamples, n), dtype=np.int64)
    for members in strata_members(n, strata):
        m = len(members)
        counts[:, members] = rng.multinomial(m, np.full(m, 1 / m), size=n_resamples)
    return counts


def jackknife_weights(n: int, most: int = 1_000) -> NDArray[np.int64]:
    """Return the weights of a jackknife: each observation left out in turn, or each of `most` groups if there are more.

    Influences add up within a group, and, where observations are independent, so do their squares and cubes: the
    acceleration that BCa takes from them is the same on average, and its cost does not grow with the square of `n`.

    Parameters
    ----------
    n : int
        Observations.
    most : int
        Most rows. Every `most`-th observation is of one group.

    Returns
    -------
    ndarray of int, shape (min(n, most), n)
        0 for what is left out, 1 for all else.
    """
    groups = np.arange(min(n, most))
    kept: NDArray[np.int64] = (np.arange(n) % len(groups) != groups[:, np.newaxis]).astype(np.int64)
    return kept


def bca_limits(
    estimate: ArrayLike,
    resampled: ArrayLike,
    jackknife: ArrayLike,
    level: float = 0.95,
    *,
    strata: ArrayLike | None = None,
) -> tuple[float | FloatArray, float | FloatArray]:
    """Return bias-corrected and accelerated (BCa) bootstrap limits.

    Parameters
    ----------
    estimate : array_like, shape (...)
        The statistic of the data.
    resampled : array_like, shape (n_resamples, ...)
        The statistic of each bootstrap sample.
    jackknife : array_like, shape (n, ...)
        The statistic without each observation in turn.
    level : float
        The confidence level.
    strata : array_like, shape (n,), optional
        The labels within which the samples were drawn.

    Returns
    -------
    low, high : float or ndarray, shape (...)
        The limits. They are NaN, with a warning, where BCa does not exist: where all bootstrap
        samples lie on one side of the estimate, or the acceleration is too large.

    Raises
    ------
    MeasureError
        For NaN or infinite statistics, shapes that disagree, or a level that is not between 0
        and 1.

    References
    ----------
    Efron, B. & Tibshirani, R. J. (1993). An introduction to the bootstrap, eqs. 14.10, 14.14 and
    14.15; with strata, the acceleration for several samples, eq. 15.36.
    """
    from scipy.special import ndtr, ndtri

    check_level(level)
    theta = np.asarray(estimate, dtype=np.float64)
    boot = _defined(resampled, "bootstrap samples", theta.shape)
    left_out = _defined(jackknife, "jackknife samples", theta.shape)
    # A value that differs by rounding only (a resample of constant data) is a tie.
    slack = 1e-13 * np.abs(theta)
    below = (boot < theta - slack).mean(axis=0) + (boot <= theta + slack).mean(axis=0)
    bias = ndtri(below / 2)
    acceleration = _acceleration(left_out, strata)
    undefined = ~np.isfinite(bias)
    bias = np.where(undefined, 0.0, bias)
    shares = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        shifted = bias + ndtri(tail)
        stretch = 1 - acceleration * shifted
        undefined = undefined | (stretch <= 0)
        shares.append(ndtr(bias + shifted / np.where(stretch > 0, stretch, 1.0)))
    if undefined.any():
        warnings.warn(
            f"BCa limits do not exist for {int(undefined.sum())} of {undefined.size} estimates, "
            "which lie at the edge of their bootstrap distribution: their limits are NaN; use "
            "method='percentile'",
            stacklevel=2,
        )
    ordered = np.sort(boot, axis=0)
    low, high = (np.where(undefined, np.nan, _quantile(ordered, s)) for s in shares)
    return plain(low), plain(high)


def shifted_percentile_limits(
    estimate: ArrayLike, resampled: ArrayLike, level: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """Return percentile limits, moved so that the median of the bootstrap samples lies on the estimate.

    Resamples of a statistic that is biased, such as one that is cut off at 0, can all lie on one side of the estimate.
    BCa does not exist then, and plain percentiles leave the estimate out: they hold its bias twice.

    Parameters
    ----------
    estimate : array_like, shape (...)
        The statistic of the data.
    resampled : array_like, shape (n_resamples, ...)
        The statistic of each bootstrap sample.
    level : float
        The confidence level.

    Returns
    -------
    low, high : ndarray, shape (...)
        The estimate plus the distance of each percentile from the median; they always enclose the estimate, and may
        lie beyond the range of the statistic.

    Raises
    ------
    MeasureError
        If the level is no share.
    """
    check_level(level)
    low, middle, high = np.quantile(np.asarray(resampled), [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
    return np.asarray(estimate + (low - middle)), np.asarray(estimate + (high - middle))


def bootstrap_interval(
    statistic: Callable[..., ArrayLike],
    *data: ArrayLike,
    axis: int = 0,
    weighted: bool = False,
    strata: ArrayLike | None = None,
    n_resamples: int = 2000,
    level: float = 0.95,
    method: Literal["bca", "percentile"] = "bca",
    seed: int | np.random.Generator = 0,
) -> BootstrapInterval:
    """Estimate a statistic with a bootstrap confidence interval.

    Parameters
    ----------
    statistic : callable
        ``statistic(*data)`` gives a number or an array. If `weighted`, it is called as
        ``statistic(*data, weights=weights)`` with weights of shape (m, n) and gives one entry for
        each row of weights, shape (m, ...): much faster.
    *data : array_like
        Arrays with the same observations along `axis` (stimuli, say); an observation is drawn
        from all of them together. For two independent samples, concatenate them and pass the
        sample as `strata`.
    axis : int
        The axis of the observations, the unit of resampling. It must be the unit over which the
        result is to generalise: stimuli, subjects or networks, never voxels or pairs of an RDM.
    weighted : bool
        How `statistic` is called.
    strata : array_like, shape (n,), optional
        Labels; each stratum is resampled by itself and keeps its size.
    n_resamples : int
        Number of bootstrap samples.
    level : float
        The confidence level.
    method : {"bca", "percentile"}
        BCa corrects for bias and skewness; the percentile interval does not.
    seed : int or numpy Generator
        The source of randomness.

    Returns
    -------
    BootstrapInterval
        Estimate, limits and standard error.

    Raises
    ------
    MeasureError
        For data of different lengths, a statistic that is NaN or infinite for some sample, or a
        stratum with a single member.

    Notes
    -----
    With few observations the intervals are too narrow: for the mean of n = 10 the level of 95 % is
    really about 90 %.
    """
    check_choice("method", method, ("bca", "percentile"))
    check_level(level)
    arrays = [np.asarray(d) for d in data]
    lengths = {a.shape[axis] if a.ndim > max(axis, -axis - 1) else 0 for a in arrays}
    if len(lengths) != 1:
        raise MeasureError(f"the data have {sorted(lengths)} observations, expected all the same")
    n = lengths.pop()
    rng = np.random.default_rng(seed)
    counts = bootstrap_counts(n, n_resamples, rng, strata=strata)

    def evaluate(weights: NDArray[np.int64]) -> FloatArray:
        if weighted:
            values = np.asarray(statistic(*arrays, weights=weights), dtype=np.float64)
            if values.shape[:1] != (len(weights),):
                raise MeasureError(
                    f"the weighted statistic gave shape {values.shape} for {len(weights)} rows of "
                    "weights, expected one entry for each row"
                )
            return values
        draws = (np.repeat(np.arange(n), row) for row in weights)
        return np.stack(
            [np.asarray(statistic(*(np.take(a, draw, axis=axis) for a in arrays)), np.float64) for draw in draws]
        )

    everything = np.ones((1, n), dtype=np.int64)
    theta = _defined(evaluate(everything), "statistics of the data")[0]
    boot = _defined(evaluate(counts), "bootstrap samples", theta.shape)
    if method == "bca":
        left_out = evaluate(jackknife_weights(n) if strata is None else 1 - np.eye(n, dtype=np.int64))
        low, high = bca_limits(theta, boot, left_out, level, strata=strata)
    else:
        low, high = np.quantile(boot, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return BootstrapInterval(
        estimate=plain(theta),
        low=plain(low),
        high=plain(high),
        standard_error=plain(boot.std(axis=0, ddof=1)),
        level=level,
        method=method,
        n=n,
        n_resamples=n_resamples,
    )


def _defined(values: ArrayLike, what: str, shape: tuple[int, ...] | None = None) -> FloatArray:
    """Return statistics of samples as floats, or raise if some are undefined."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or (shape is not None and array.shape[1:] != shape):
        raise MeasureError(
            f"the {what} have shape {array.shape}, expected one row for each sample"
            + (f" and {shape} after it" if shape else "")
        )
    bad = int(np.count_nonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1)))
    if bad:
        raise MeasureError(
            f"the statistic is NaN or infinite in {bad} of {len(array)} {what}; if a sample can "
            "lose a whole category, resample within categories (strata)"
        )
    return array


def _acceleration(jackknife: FloatArray, strata: ArrayLike | None) -> FloatArray:
    cubes = squares = np.zeros(jackknife.shape[1:])
    for members in strata_members(len(jackknife), strata):
        m = len(members)
        values = jackknife[members]
        influence = (m - 1) * (values.mean(axis=0) - values)
        cubes = cubes + (influence**3).sum(axis=0) / m**3
        squares = squares + (influence**2).sum(axis=0) / m**2
    flat = squares == 0
    return np.where(flat, 0.0, cubes / (6 * np.where(flat, 1.0, squares) ** 1.5))


def _quantile(ordered: FloatArray, share: FloatArray) -> FloatArray:
    """Return quantiles along the first axis of sorted values, another share for each column."""
    position = share * (len(ordered) - 1)
    below = np.floor(position).astype(np.intp)
    above = np.minimum(below + 1, len(ordered) - 1)
    low = np.take_along_axis(ordered, below[np.newaxis], axis=0)[0]
    high = np.take_along_axis(ordered, above[np.newaxis], axis=0)[0]
    quantile: FloatArray = low + (position - below) * (high - low)
    return quantile
