"""Groups of subjects who heard the same stimuli: intervals that generalise to other subjects and other stimuli."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.errors import MeasureError
from brainalign.stats._checks import FloatArray, check_level, finite_array
from brainalign.stats.resampling import bca_limits, bootstrap_counts, jackknife_weights, shifted_percentile_limits

#: Weights of stimuli in, (m, n_stimuli); one value for each subject and estimate out, (m, n_subjects, n_estimates).
SubjectStatistic = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class HierarchicalInterval:
    """Result of :func:`hierarchical_bootstrap`.

    Attributes
    ----------
    estimate : ndarray, shape (n_estimates,)
        Mean over subjects, of the data themselves.
    low, high : ndarray, shape (n_estimates,)
        Limits of the interval.
    standard_error : ndarray, shape (n_estimates,)
        Standard deviation over bootstrap samples.
    n_subjects : ndarray of int, shape (n_estimates,)
        Subjects that have a value. With a single one, stimuli alone were resampled.
    method : ndarray of str, shape (n_estimates,)
        ``"bca"``, or ``"shifted percentile"`` (:func:`~brainalign.stats.resampling.shifted_percentile_limits`) where
        BCa does not exist.
    """

    estimate: FloatArray
    low: FloatArray
    high: FloatArray
    standard_error: FloatArray
    n_subjects: NDArray[np.intp]
    method: NDArray[np.str_]


def hierarchical_bootstrap(
    statistic: SubjectStatistic, n_stimuli: int, n_resamples: int, rng: np.random.Generator, *, level: float = 0.95
) -> HierarchicalInterval:
    """Estimate means over subjects with an interval from resampled subjects and resampled stimuli.

    Each bootstrap sample draws stimuli, the same for all subjects, and subjects. Nothing is copied: a stimulus drawn
    twice is a weight of 2 that `statistic` is given, a subject drawn twice counts twice in the mean.

    Parameters
    ----------
    statistic : callable
        Takes weights of the stimuli, shape (m, n_stimuli), and gives the value of each subject, shape (m, n_subjects,
        n_estimates). A subject that lacks an estimate (a region that was not measured) is NaN throughout.
    n_stimuli : int
        Number of stimuli.
    n_resamples : int
        Number of bootstrap samples.
    rng : numpy Generator
        The source of randomness.
    level : float
        The confidence level.

    Returns
    -------
    HierarchicalInterval
        One entry for each estimate. BCa limits, subjects and stimuli being two samples for the acceleration.

    Raises
    ------
    MeasureError
        If an estimate is NaN for all subjects, or for a subject in some samples only.

    Notes
    -----
    Subjects and stimuli are crossed, so noise that belongs to both is counted up to three times: the interval
    is a little too wide where that noise dominates (Owen 2007, theorem 3). With few subjects it is too narrow, as
    all bootstrap intervals are: means of four subjects lie within the 95 % interval in about 80 % of cases when
    subjects are all that varies.

    References
    ----------
    Owen, A. B. (2007). The pigeonhole bootstrap. Annals of Applied Statistics 1, 386-411.
    Efron, B. & Tibshirani, R. J. (1993). An introduction to the bootstrap, eq. 15.36.
    """
    check_level(level)
    measured = _values(statistic, np.ones((1, n_stimuli)))[0]
    present = ~np.isnan(measured)
    n_subjects = present.sum(axis=0)
    if (n_subjects == 0).any():
        raise MeasureError(f"estimate {int(np.argmin(n_subjects))} has no value for any subject")
    boot = _values(statistic, bootstrap_counts(n_stimuli, n_resamples, rng).astype(np.float64))
    left_out = _values(statistic, jackknife_weights(n_stimuli).astype(np.float64))
    if any((np.isnan(values) == present).any() for values in (boot, left_out)):
        raise MeasureError("the value of a subject is NaN in some bootstrap samples and not in others")
    estimate, low, high, error = np.empty((4, measured.shape[1]))
    method = np.full(measured.shape[1], "bca", dtype="<U18")
    draws = {
        int(s): rng.multinomial(s, np.full(s, 1 / s), size=n_resamples) / s for s in np.unique(n_subjects)
    }  # subjects are drawn alike for all estimates, so that these stay comparable
    for k, s in enumerate(n_subjects):
        own = present[:, k]
        values = measured[own, k]
        samples = np.einsum("bs,bs->b", draws[int(s)], boot[:, own, k])
        estimate[k], error[k] = values.mean(), samples.std(ddof=1)
        by_stimulus = left_out[:, own, k].mean(axis=1)
        by_subject = (values.sum() - values) / (s - 1) if s > 1 else np.empty(0)
        factor = np.repeat([0, 1], [len(by_stimulus), len(by_subject)])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="BCa limits do not exist")
            low[k], high[k] = bca_limits(estimate[k], samples, np.r_[by_stimulus, by_subject], level, strata=factor)
        if np.isnan(low[k]):
            method[k] = "shifted percentile"
            low[k], high[k] = shifted_percentile_limits(estimate[k], samples, level)
    return HierarchicalInterval(estimate, low, high, error, n_subjects, method)


def within_subject_sem(values: ArrayLike, *, corrected: bool = True) -> FloatArray:
    """Return standard errors over subjects, without the differences between subjects that all conditions share.

    Parameters
    ----------
    values : array_like, shape (n_subjects, n_conditions)
        Every subject in every condition (layers, models).
    corrected : bool
        Multiply by sqrt(n_conditions / (n_conditions - 1)): taking the subjects' means away makes the errors too
        small (Morey 2008). Published bars often lack this.

    Returns
    -------
    ndarray, shape (n_conditions,)
        Standard deviation over subjects of the values less the subject's mean, by the root of the number of
        subjects; NaN for a single subject or condition.

    Raises
    ------
    MeasureError
        If a value is missing or the shape is another.

    References
    ----------
    Cousineau, D. (2005). Tutorials in Quantitative Methods for Psychology 1, 42-45.
    Morey, R. D. (2008). Ibid. 4, 61-64.
    """
    table = finite_array(values, "the values of subjects")
    if table.ndim != 2:
        raise MeasureError(f"values of subjects must be (subject, condition), found shape {table.shape}")
    n_subjects, n_conditions = table.shape
    if n_subjects < 2 or n_conditions < 2:
        return np.full(n_conditions, np.nan)
    own = table - table.mean(axis=1, keepdims=True)
    factor = np.sqrt(n_conditions / (n_conditions - 1)) if corrected else 1.0
    return np.asarray(own.std(axis=0, ddof=1) / np.sqrt(n_subjects) * factor)


def _values(statistic: SubjectStatistic, weights: FloatArray) -> FloatArray:
    values = np.asarray(statistic(weights), dtype=np.float64)
    if values.ndim != 3 or len(values) != len(weights):
        raise MeasureError(
            f"the statistic gave shape {values.shape} for {len(weights)} rows of weights, expected "
            f"({len(weights)}, n_subjects, n_estimates)"
        )
    return values
