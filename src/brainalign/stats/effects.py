"""Effect sizes of the difference between two independent samples, for many units at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from brainalign.stats._checks import FloatArray, finite_pair, plain


def auc(x: ArrayLike, y: ArrayLike, *, axis: int = 0) -> float | FloatArray:
    """Return the area under the ROC curve, P(x > y) + P(x = y) / 2.

    Parameters
    ----------
    x, y : array_like, shape (n1, ...) and (n2, ...)
        The samples. Further axes are units.
    axis : int
        The axis of the observations.

    Returns
    -------
    float or ndarray
        Between 0 and 1; 0.5 is no effect. The same as U / (n1 n2) of the Mann-Whitney test, the
        common-language effect size.

    Raises
    ------
    MeasureError
        For an empty sample, NaN or infinite values, or units that disagree.
    """
    from scipy.stats import rankdata

    x, y = finite_pair(x, y, axis)
    n1, n2 = x.shape[-1], y.shape[-1]
    ranks = rankdata(np.concatenate([x, y], axis=-1), axis=-1)[..., :n1]
    return plain((ranks.sum(axis=-1) - n1 * (n1 + 1) / 2) / (n1 * n2))


def cohens_d(x: ArrayLike, y: ArrayLike, *, axis: int = 0) -> float | FloatArray:
    """Return Cohen's d, the difference of the means in units of the pooled standard deviation.

    Parameters
    ----------
    x, y : array_like, shape (n1, ...) and (n2, ...)
        The samples, at least 2 observations each. Further axes are units.
    axis : int
        The axis of the observations.

    Returns
    -------
    float or ndarray
        d, with the variances (ddof 1) pooled by their degrees of freedom. Samples without any
        spread give 0 if their means are equal, else plus or minus infinity.

    Raises
    ------
    MeasureError
        For too few observations, NaN or infinite values, or units that disagree.

    References
    ----------
    Cohen, J. (1988). Statistical power analysis for the behavioral sciences, eq. 2.5.1.
    """
    x, y = finite_pair(x, y, axis, least=2)
    n1, n2 = x.shape[-1], y.shape[-1]
    (m1, v1), (m2, v2) = _moments(x, ddof=1), _moments(y, ddof=1)
    return _standardised(m1 - m2, ((n1 - 1) * v1 + (n2 - 1) * v2) / (n1 + n2 - 2))


def d_prime(x: ArrayLike, y: ArrayLike, *, axis: int = 0) -> float | FloatArray:
    """Return the sensitivity d', the difference of the means over the root of the mean variance.

    Unlike Cohen's d it weights both samples alike, whatever their sizes.

    Parameters
    ----------
    x, y : array_like, shape (n1, ...) and (n2, ...)
        The samples, at least 2 observations each. Further axes are units.
    axis : int
        The axis of the observations.

    Returns
    -------
    float or ndarray
        (mean(x) - mean(y)) / sqrt((var(x) + var(y)) / 2), variances with ddof 1. Samples without
        any spread give 0 if their means are equal, else plus or minus infinity.

    Raises
    ------
    MeasureError
        For too few observations, NaN or infinite values, or units that disagree.

    References
    ----------
    Green, D. M. & Swets, J. A. (1966). Signal detection theory and psychophysics. With unequal
    variances: Simpson, A. J. & Fitter, M. J. (1973). Psychol. Bull. 80, 481-488 (their d_a).
    """
    x, y = finite_pair(x, y, axis, least=2)
    (m1, v1), (m2, v2) = _moments(x, ddof=1), _moments(y, ddof=1)
    return _standardised(m1 - m2, (v1 + v2) / 2)


def welch_t(x: ArrayLike, y: ArrayLike, *, axis: int = 0, ddof: int = 1) -> float | FloatArray:
    """Return Welch's t, the difference of the means over its standard error.

    Parameters
    ----------
    x, y : array_like, shape (n1, ...) and (n2, ...)
        The samples, at least 2 observations each. Further axes are units.
    axis : int
        The axis of the observations.
    ddof : {1, 0}
        Delta degrees of freedom of the variances. 1 is Welch's test; 0 is the music selectivity
        index of Kim et al. (2024, eq. 2) as their code computes it.

    Returns
    -------
    float or ndarray
        t. Samples without any spread, as of a unit that never responds, give 0 if their means are
        equal, else plus or minus infinity.

    Raises
    ------
    MeasureError
        For too few observations, NaN or infinite values, or units that disagree.

    References
    ----------
    Welch, B. L. (1947). Biometrika 34, 28-35.
    """
    x, y = finite_pair(x, y, axis, least=2)
    (m1, v1), (m2, v2) = _moments(x, ddof), _moments(y, ddof)
    return _standardised(m1 - m2, v1 / x.shape[-1] + v2 / y.shape[-1])


def _moments(sample: FloatArray, ddof: int) -> tuple[FloatArray, FloatArray]:
    """Return mean and variance along the last axis, without rounding where all values are equal."""
    constant = np.ptp(sample, axis=-1) == 0
    mean = np.where(constant, sample[..., 0], sample.mean(axis=-1))
    return mean, np.where(constant, 0.0, sample.var(axis=-1, ddof=ddof))


def _standardised(difference: FloatArray, variance: FloatArray) -> float | FloatArray:
    """Divide by the root of the variance; without variance, 0 stays 0 and the rest is infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = difference / np.sqrt(variance)
    return plain(np.where((variance == 0) & (difference == 0), 0.0, ratio))
