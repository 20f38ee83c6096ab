"""Scores of predictions: Pearson's r, squared clipped r, and R2; of one fold, over folds, and pooled.

The three differ, and so do the ways to put folds together: with strong shrinkage every fold predicts little but its
training mean, which lies below the test mean when that is high, so pooled predictions of noise correlate
*negatively* with the data while the folds by themselves average to zero. A result names its rule and is compared
only with results by the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.errors import MeasureError, did_you_mean

Array = NDArray[np.float64]
Statistic = Literal["r2", "r", "R2"]
FoldRule = Literal["median", "mean"]


def score(
    predictions: Array, observed: Array, statistic: Statistic = "r2", weights: NDArray[np.floating] | None = None
) -> Array:
    """Score the predictions of one fold, target by target.

    Parameters
    ----------
    predictions, observed : ndarray, shape (n_stimuli, n_targets)
        What was predicted and what was measured.
    statistic : {'r2', 'r', 'R2'}
        ``r``: Pearson correlation. ``r2``: its square, negative correlations counting as 0 (Tuckute et al. 2023).
        ``R2``: coefficient of determination, 1 - squared error / squared deviation from the mean of these stimuli;
        unlike the others it minds the scale and offset of the predictions, and it is negative when they are worse
        than that mean.
    weights : ndarray, shape (n_resamples, n_stimuli), optional
        Weights of the stimuli, for instance how often a bootstrap drew them.

    Returns
    -------
    ndarray, shape (n_targets,) or (n_resamples, n_targets)
        Where predictions or observations are constant, r and r2 are 0; where observations are, R2 is 0. All are 0 in
        a resample without any of these stimuli.

    Raises
    ------
    MeasureError
        If the statistic is unknown.
    """
    check_statistic(statistic)
    w = np.ones((1, len(predictions))) if weights is None else np.asarray(weights, dtype=np.float64)
    if statistic == "R2":
        values = _determination(predictions, observed, w)
    else:
        values = _correlation(predictions, observed, w)
        if statistic == "r2":
            values = values.clip(0, 1) ** 2
    return values[0] if weights is None else values


def check_statistic(statistic: str) -> None:
    """Raise if there is no such score."""
    if statistic not in get_args(Statistic):
        raise MeasureError(f"no statistic {statistic!r}; {did_you_mean(statistic, get_args(Statistic))}")


def aggregate_folds(scores: ArrayLike, rule: FoldRule = "median", axis: int = 0) -> Array:
    """Put the scores of folds together.

    Parameters
    ----------
    scores : array_like
        Scores of folds, see :func:`score`; a fold in which a target has no score is NaN.
    rule : {'median', 'mean'}
        The median is that of Tuckute et al. 2023.
    axis : int
        The axis of the folds.

    Returns
    -------
    ndarray
        Without that axis; NaN for a target that has no score in any fold.

    Raises
    ------
    MeasureError
        If the rule is unknown.
    """
    if rule not in get_args(FoldRule):
        raise MeasureError(f"no rule {rule!r} to put folds together; {did_you_mean(rule, get_args(FoldRule))}")
    return _along_present(np.asarray(scores, dtype=np.float64), rule, axis)


def median_present(values: Array, axis: int) -> Array:
    """Return medians along an axis that pass over NaN, and are NaN where there is nothing else."""
    return _along_present(values, "median", axis)


def pooled_score(predictions: Sequence[Array], observed: Sequence[Array], statistic: Statistic = "r2") -> Array:
    """Score the predictions of all folds at once, as if they were of one.

    Parameters
    ----------
    predictions, observed : sequence of ndarray, each of shape (n_test, n_targets)
        One entry for each fold; folds must not share test stimuli.
    statistic : {'r2', 'r', 'R2'}
        See :func:`score`.

    Returns
    -------
    ndarray, shape (n_targets,)
        For comparison with published values only: r and r2 are biased downward, see the head of this module.
    """
    return score(np.concatenate(list(predictions)), np.concatenate(list(observed)), statistic)


def _along_present(values: Array, rule: str, axis: int) -> Array:
    missing = np.isnan(values)
    if not missing.any():
        return np.asarray(np.median(values, axis=axis) if rule == "median" else values.mean(axis=axis))
    nothing = missing.all(axis=axis)
    filled = np.where(np.expand_dims(nothing, axis), 0.0, values)
    together = np.nanmedian(filled, axis=axis) if rule == "median" else np.nanmean(filled, axis=axis)
    return np.asarray(np.where(nothing, np.nan, together))


def _total(w: Array) -> Array:
    """Return the sums of weights; a resample that drew none of these stimuli has no score, and counts as constant."""
    total = w.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, total, 1.0))


def _correlation(predictions: Array, observed: Array, w: Array) -> Array:
    # What is the same for all stimuli has no correlation; centred by its mean it would be rounding noise.
    constant = (np.ptp(predictions, axis=0) == 0) | (np.ptp(observed, axis=0) == 0)
    # Moments about the plain mean lose no digits where values are large against their spread; unit scale avoids
    # underflow where a penalty has shrunk predictions to nothing.
    p, q = predictions - predictions.mean(axis=0), observed - observed.mean(axis=0)
    p, q = (x / np.where(constant, 1, np.abs(x).max(axis=0)) for x in (p, q))
    total = _total(w)
    p_mean, q_mean = w @ p / total, w @ q / total
    covariance = w @ (p * q) / total - p_mean * q_mean
    p_variance, q_variance = w @ p**2 / total - p_mean**2, w @ q**2 / total - q_mean**2
    # A resample may hold equal values only; what is left of their variance is rounding.
    defined = ~constant & (p_variance > 1e-14) & (q_variance > 1e-14)
    product = np.where(defined, p_variance * q_variance, 1)
    return np.asarray(np.where(defined, covariance / np.sqrt(product), 0).clip(-1, 1))


def _determination(predictions: Array, observed: Array, w: Array) -> Array:
    q = observed - observed.mean(axis=0)
    total = _total(w)
    error = w @ (observed - predictions) ** 2 / total
    variance = w @ q**2 / total - (w @ q / total) ** 2
    defined = variance > 1e-14 * np.maximum((q**2).max(axis=0), np.finfo(float).tiny)
    return np.asarray(np.where(defined, 1 - error / np.where(defined, variance, 1), 0))
