"""Noise ceilings: how reliable repeated measurements are, and scores corrected for what noise takes away.

Reliability is always that of the *mean* over the repetitions, because that is what a model is scored against. A
correlation is divided by its square root, an explained share of variance by reliability itself.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from brainalign.errors import MeasureError
from brainalign.stats._checks import FloatArray, finite_array, plain


def spearman_brown(reliability: ArrayLike, factor: float) -> float | FloatArray:
    """Return the reliability of a measurement that is `factor` times as long.

    Parameters
    ----------
    reliability : array_like
        Of one measurement, such as the correlation of two repetitions; NaN stays NaN.
    factor : float
        How many such measurements are averaged; need not be whole.

    Returns
    -------
    float or ndarray
        factor r / (1 + (factor - 1) r). Minus infinity at and below the pole r = -1 / (factor - 1), where the
        formula would turn a strongly negative correlation into a reliability above 1.

    Raises
    ------
    MeasureError
        If the factor is not positive.

    References
    ----------
    Spearman, C. (1910). Correlation calculated from faulty data. British Journal of Psychology 3, 271-295.
    Brown, W. (1910). Some experimental results in the correlation of mental abilities. Ibid., 296-322.
    """
    if not factor > 0:
        raise MeasureError(f"the Spearman-Brown factor is {factor}, expected a positive number of measurements")
    r = np.asarray(reliability, dtype=np.float64)
    below = 1 + (factor - 1) * r
    with np.errstate(divide="ignore", invalid="ignore"):
        stepped = np.where((below <= 0) & (factor > 1), -np.inf, factor * r / below)
    return plain(stepped)


def pairwise_correlations(repetitions: ArrayLike) -> FloatArray:
    """Return the correlation over stimuli of every pair of repetitions.

    Parameters
    ----------
    repetitions : array_like, shape (n_repetitions, n_stimuli, n_units)
        Repeated measurements, or predictions of models that were fitted to them.

    Returns
    -------
    ndarray, shape (n_pairs, n_units)
        Pairs in the order (0, 1), (0, 2) ...; NaN where a repetition is constant.

    Raises
    ------
    MeasureError
        For fewer than two repetitions, or values that are NaN or infinite.
    """
    runs = _repetitions(repetitions)
    # Centred by its mean, a constant run would be rounding noise.
    constant = np.ptp(runs, axis=1) == 0
    centred = runs - runs.mean(axis=1, keepdims=True)
    # By the largest value first: the squares of predictions that a penalty shrank would underflow.
    size = np.abs(centred).max(axis=1, keepdims=True)
    centred /= np.where(size > 0, size, 1)
    norms = np.sqrt(np.einsum("rsu,rsu->ru", centred, centred))
    norms[constant] = np.nan
    return np.stack(
        [
            np.einsum("su,su->u", centred[i], centred[j]) / (norms[i] * norms[j])
            for i, j in combinations(range(len(runs)), 2)
        ]
    )


def split_half_reliability(repetitions: ArrayLike, *, max_splits: int = 100, seed: int = 0) -> FloatArray:
    """Return the reliability of the mean over repetitions, by correlating halves of them.

    Parameters
    ----------
    repetitions : array_like, shape (n_repetitions, n_stimuli, n_units)
        Repeated measurements.
    max_splits : int
        All ways to form two halves of equal size are averaged, or this many random ones if there are more.
    seed : int
        Of those draws.

    Returns
    -------
    ndarray, shape (n_units,)
        The mean correlation of halves, brought to all repetitions by :func:`spearman_brown`; it can be negative. Of
        an odd number of repetitions each split leaves one out. NaN for a unit that is constant.

    Raises
    ------
    MeasureError
        For fewer than two repetitions, or values that are NaN or infinite.
    """
    runs = _repetitions(repetitions)
    n, half = len(runs), len(runs) // 2
    if half == 1:
        halves = pairwise_correlations(runs)
    else:
        halves = np.concatenate(
            [
                pairwise_correlations(np.stack([runs[first].mean(axis=0), runs[second].mean(axis=0)]))
                for first, second in halvings(n, half, max_splits, seed)
            ]
        )
    return np.atleast_1d(spearman_brown(halves.mean(axis=0), n / half))


def ncsnr(repetitions: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Return the noise ceiling signal-to-noise ratio of each unit.

    Parameters
    ----------
    repetitions : array_like, shape (n_repetitions, n_stimuli, n_units)
        Repeated measurements.
    weights : array_like, shape (..., n_stimuli), optional
        How often each stimulus counts, for a bootstrap.

    Returns
    -------
    ndarray, shape (..., n_units)
        Standard deviation of the signal over stimuli by that of the noise of one repetition. Each repetition is centred
        over stimuli first, since its level shifts all stimuli alike and a variance over stimuli does not see it (Allen
        et al. take z-scores within each session; scales are left alone here). The variance of the noise is then the
        residual mean square, with (n_repetitions - 1) (n_stimuli - 1) degrees of freedom; the variance of the signal is
        that of the mean over repetitions less what noise adds to it, and 0 where this is negative. Infinite without
        noise. The share of signal that follows is the intraclass correlation ICC(3, k) of Shrout & Fleiss (1979).

    Raises
    ------
    MeasureError
        For fewer than two repetitions or stimuli, or values that are NaN or infinite.

    References
    ----------
    Allen, E. J. et al. (2022). A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial
    intelligence. Nature Neuroscience 25, 116-126; Methods, "Noise ceiling estimation".
    """
    runs = _repetitions(repetitions)
    w = np.ones(runs.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    n = w.sum(axis=-1)[..., np.newaxis]
    # Centred before squares are taken: the differences of large levels would be rounding.
    runs = runs - runs.mean(axis=1, keepdims=True)
    mean = runs.mean(axis=0)
    residuals = runs - mean
    levels = sum((w @ own) ** 2 for own in residuals) / n
    noise = (w @ (residuals**2).sum(axis=0) - levels) / ((len(runs) - 1) * (n - 1))
    signal = np.maximum((w @ mean**2 - (w @ mean) ** 2 / n) / (n - 1) - noise / len(runs), 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.sqrt(signal / noise)
    return np.asarray(ratio)


def ncsnr_reliability(ratio: ArrayLike, n_repetitions: int) -> float | FloatArray:
    """Return the share of variance of a mean over repetitions that is signal.

    Parameters
    ----------
    ratio : array_like
        Noise ceiling signal-to-noise ratio, see :func:`ncsnr`.
    n_repetitions : int
        How many repetitions are averaged.

    Returns
    -------
    float or ndarray
        ratio^2 / (ratio^2 + 1 / n_repetitions): the highest r2 that a model can be expected to reach, the noise
        ceiling (Allen et al. 2022, there in percent).
    """
    signal = np.square(np.asarray(ratio, dtype=np.float64))
    with np.errstate(invalid="ignore"):
        share = np.where(np.isinf(signal), 1.0, signal / (signal + 1 / n_repetitions))
    return plain(share)


def critical_r(n: int, alpha: float = 0.05) -> float:
    """Return the correlation that uncorrelated normal samples exceed with probability `alpha` (one-sided).

    Parameters
    ----------
    n : int
        Number of stimuli.
    alpha : float
        Probability.

    Returns
    -------
    float
        0.182 for the 83 training sounds of Tuckute et al. 2023, 0.183 for their 82 test sounds.

    Raises
    ------
    MeasureError
        For fewer than 3 stimuli.
    """
    from scipy.special import stdtrit

    if n < 3:
        raise MeasureError(f"a correlation of {n} stimuli has no null distribution; at least 3 are needed")
    t = stdtrit(n - 2, 1 - alpha)
    return float(t / np.sqrt(n - 2 + t**2))


def correct_score(score: ArrayLike, reliability: ArrayLike, *, squared: bool, least: float = 0.0) -> float | FloatArray:
    """Divide scores by what noise in the data allows.

    Parameters
    ----------
    score : array_like
        Correlations, or shares of variance (r2, R2), of predictions with the mean over repetitions.
    reliability : array_like
        Of that mean, see :func:`split_half_reliability`.
    squared : bool
        Whether the scores are shares of variance: these are divided by the reliability, correlations by its
        square root.
    least : float
        Smallest reliability that is divided by, not negative.

    Returns
    -------
    float or ndarray
        The score that measurements without noise would be expected to give; not clipped, so it may exceed 1. NaN
        where the reliability is not positive or less than `least`: noise is not turned into a score.
    """
    return plain(np.asarray(score, dtype=np.float64) / reliability_divisor(reliability, squared=squared, least=least))


def reliability_divisor(reliability: ArrayLike, *, squared: bool, least: float = 0.0) -> FloatArray:
    """Return what :func:`correct_score` divides by.

    Parameters
    ----------
    reliability, squared, least
        As there.

    Returns
    -------
    ndarray
        NaN where the reliability is too low.
    """
    rel = np.asarray(reliability, dtype=np.float64)
    usable = np.where((rel > 0) & (rel >= least), rel, np.nan)
    return np.asarray(usable if squared else np.sqrt(usable))


def tuckute2023_divisor(train: ArrayLike, predictions: ArrayLike, *, repaired: bool = True) -> FloatArray:
    """Return what the noise correction of Tuckute et al. 2023 divides the r2 of a voxel by.

    The product of two reliabilities, each the median over pairs of repetitions of their correlation, brought to
    all repetitions by Spearman-Brown, and at least as large as chance allows (:func:`critical_r`, to three decimals
    as published): that of the data on the training stimuli, and that of predictions for the test stimuli
    by models which were each fitted to a single repetition. Pairs whose correlation is undefined are left out.

    Parameters
    ----------
    train : array_like, shape (n_repetitions, n_train, n_units)
        The data on the training stimuli.
    predictions : array_like, shape (n_repetitions, n_test, n_units)
        Predictions for the test stimuli by the models of single repetitions.
    repaired : bool
        The released code turns a median correlation below the pole of Spearman-Brown (-0.5 for three repetitions)
        into a reliability above 1. Repaired, such a unit gets the smallest allowed value; otherwise all is as
        released.

    Returns
    -------
    ndarray, shape (n_units,)
        Positive; as small as 0.182 x 0.183, so that r2 divided by it can be as large as 30.

    Raises
    ------
    MeasureError
        For fewer than two repetitions, three stimuli, or values that are NaN or infinite.

    References
    ----------
    Tuckute, G., Feather, J., Boebinger, D. & McDermott, J. H. (2023). PLoS Biology 21, e3002366; Methods, "Noise
    correction", and the released code.
    """
    divisor: FloatArray = np.ones(())
    for repetitions in (train, predictions):
        runs = _repetitions(repetitions)
        pairs = pairwise_correlations(runs)
        undefined = np.isnan(pairs).all(axis=0)
        r = np.nanmedian(np.where(undefined, -1.0, pairs), axis=0)
        n = len(runs)
        if repaired:
            stepped = np.asarray(spearman_brown(r, n))
        else:
            with np.errstate(divide="ignore"):
                stepped = n * r / (1 + (n - 1) * r)
        floor = round(critical_r(runs.shape[1]), 3)
        divisor = divisor * np.where(undefined, floor, np.maximum(stepped, floor))
    return divisor


def _repetitions(values: ArrayLike) -> FloatArray:
    runs = finite_array(values, "the repetitions")
    if runs.ndim != 3 or runs.shape[0] < 2 or runs.shape[1] < 2:
        raise MeasureError(
            f"reliability needs at least 2 repetitions of at least 2 stimuli, as (repetition, stimulus, unit); "
            f"found shape {runs.shape}"
        )
    return runs


def halvings(n: int, half: int, max_splits: int, seed: int) -> list[tuple[list[int], list[int]]]:
    """Return pairs of disjoint sets of `half` of `n` repetitions: all of them, or `max_splits` random ones."""
    everything = []
    for first in combinations(range(n), half):
        for second in combinations([i for i in range(first[0] + 1, n) if i not in first], half):
            everything.append((list(first), list(second)))
            if len(everything) > max_splits:
                rng = np.random.default_rng(seed)
                orders = [rng.permutation(n).tolist() for _ in range(max_splits)]
                return [(order[:half], order[half : 2 * half]) for order in orders]
    return everything
