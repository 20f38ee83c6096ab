"""Which of several models predicts better? A paired test of cross-validated scores, and ranks with ties.

Splits of one set of stimuli overlap, so a paired t test over half-splits finds a winner in a quarter to 60 % of cases
where both models are equally good. A bootstrap of test stimuli with the fits held fixed leaves out what the training
stimuli add and finds one in up to 10 %. The test here is the corrected resampled t test (Nadeau & Bengio 2003): the
mean difference over splits, with the variance over splits times ``1 / n_splits + n_test / n_train``. Its simulated
error rates are in docs/leaderboard.md. The score that a measure shows may be another: the median over splits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean
from brainalign.measures.scores import aggregate_folds
from brainalign.stats import adjust_p
from brainalign.stats.multiple import AdjustMethod

Array = NDArray[np.float64]
Population = Literal["stimuli", "subjects", "both"]
#: Differences below this are rounding.
_SAME = 1e-12


@dataclass(frozen=True)
class SplitScores:
    """Held-out scores of several models, paired: the same splits and the same subjects for all.

    Attributes
    ----------
    splits : ndarray, shape (n_models, n_splits, n_subjects)
        The score of each split; NaN where a subject has none. One subject where there are none.
    n_train, n_test : int
        Stimuli that each split fits and tests.
    """

    splits: Array
    n_train: int
    n_test: int


@dataclass(frozen=True)
class Contrasts:
    """Estimates of contrasts of models.

    Attributes
    ----------
    value, error, low, high, p : ndarray, shape (n_contrasts,)
        Estimate (mean over splits and subjects), standard error, t interval around the estimate, and two-sided p of a
        t test against 0.
    df : ndarray, shape (n_contrasts,)
        Degrees of freedom.
    """

    value: Array
    error: Array
    low: Array
    high: Array
    p: Array
    df: Array


def contrast_scores(
    scores: SplitScores, contrasts: Array, generalise_to: Population | None = None, level: float = 0.95
) -> Contrasts:
    """Estimate and test contrasts of the models' mean scores over splits, such as the difference of two.

    Parameters
    ----------
    scores : SplitScores
        Of all models.
    contrasts : ndarray, shape (n_contrasts, n_models)
        One row each; a mean score is ``[1, 0, ...]``, a difference ``[1, -1, ...]``.
    generalise_to : {'stimuli', 'subjects', 'both'}, optional
        New stimuli of the kind (variance over splits of the mean over subjects, corrected for the overlap of the
        splits), new subjects hearing the same stimuli (variance over subjects), or both (the sum of the two, with
        Satterthwaite's degrees of freedom; noise of single subjects is counted twice, which is careful). By default
        both if there are subjects, else stimuli.
    level : float
        Coverage of the intervals.

    Returns
    -------
    Contrasts
        One entry for each row.

    Raises
    ------
    MeasureError
        If there is one split, or one subject to generalise to subjects, or a score is missing.

    References
    ----------
    Nadeau, C. & Bengio, Y. (2003). Inference for the generalization error. Machine Learning 52, 239-281.
    Satterthwaite, F. E. (1946). Biometrics Bulletin 2, 110-114.
    """
    from scipy.stats import t

    n_subjects = scores.splits.shape[2]
    population = generalise_to or ("both" if n_subjects > 1 else "stimuli")
    _check(scores, population)
    by_subject = contrasts @ aggregate_folds(scores.splits, "mean", axis=1)
    by_split = contrasts @ aggregate_folds(scores.splits, "mean", axis=2)
    value = (by_subject if population == "subjects" else by_split).mean(axis=1)
    parts = []
    if population != "subjects":
        n_splits = by_split.shape[1]
        overlap = 1 / n_splits + scores.n_test / scores.n_train
        parts.append((by_split.var(axis=1, ddof=1) * overlap, n_splits - 1))
    if population != "stimuli":
        parts.append((by_subject.var(axis=1, ddof=1) / n_subjects, n_subjects - 1))
    variance = np.sum([v for v, _ in parts], axis=0)
    spread = np.sum([v**2 / df for v, df in parts], axis=0)
    least = min(df for _, df in parts)
    df = np.divide(variance**2, spread, out=np.full(len(variance), float(least)), where=spread > 0)
    error = np.sqrt(variance)
    width = error * t.ppf((1 + level) / 2, df)
    # Two models that are the same differ by rounding only.
    ratio = np.divide(np.abs(value), error, out=np.full(len(value), np.inf), where=error > 0)
    p = np.where(np.abs(value) < _SAME, 1.0, 2 * t.sf(ratio, df))
    return Contrasts(value, error, value - width, value + width, p, df)


def _check(scores: SplitScores, population: str) -> None:
    if population not in get_args(Population):
        raise MeasureError(f"no population {population!r}; {did_you_mean(population, get_args(Population))}")
    n_splits, n_subjects = scores.splits.shape[1:]
    if population != "subjects" and n_splits < 2:
        raise MeasureError("a test over splits needs at least 2 of them, found 1; raise n_splits")
    if population != "stimuli" and n_subjects < 2:
        raise MeasureError("a test over subjects needs at least 2 of them, found 1; use generalise_to='stimuli'")
    missing = np.isnan(scores.splits)
    if missing.all(axis=1).any() or missing.all(axis=2).any():
        raise MeasureError("a model has no score with a subject, or none in a split; models cannot be compared")


def pair_contrasts(n_models: int) -> tuple[list[tuple[int, int]], Array]:
    """Return all pairs of models, and the contrasts that are their differences.

    Parameters
    ----------
    n_models : int
        How many.

    Returns
    -------
    pairs : list of tuple of int
        The first less the second.
    contrasts : ndarray, shape (n_pairs, n_models)
        For :func:`contrast_scores`.
    """
    pairs = [(i, j) for i in range(n_models) for j in range(i + 1, n_models)]
    contrasts = np.zeros((len(pairs), n_models))
    for row, (first, second) in zip(contrasts, pairs, strict=True):
        row[first], row[second] = 1, -1
    return pairs, contrasts


def rank_models(
    pairs: list[tuple[int, int]],
    difference: Array,
    p: Array,
    n_models: int,
    *,
    alpha: float = 0.05,
    correction: AdjustMethod = "holm",
) -> tuple[NDArray[np.int_], NDArray[np.int_], Array]:
    """Rank models by tests of all pairs.

    Parameters
    ----------
    pairs : list of tuple of int
        Which models each test compares; each pair once.
    difference, p : ndarray, shape (n_pairs,)
        First less second, and two-sided p before correction.
    n_models : int
        How many.
    alpha : float
        Level for all pairs together.
    correction : str
        See :func:`~brainalign.stats.adjust_p`. With ``"holm"``, the chance that any model is wrongly set before
        another is at most `alpha`, so the ranks from best to worst hold the true ranks of all models at once with a
        confidence of 1 - `alpha` (Mogstad et al. 2024).

    Returns
    -------
    best, worst : ndarray of int, shape (n_models,)
        1 + how many models are better by the test, and the number of models less those that are worse by it. Models
        that no test sets apart share ranks.
    p_adjusted : ndarray, shape (n_pairs,)
        Of each pair.

    References
    ----------
    Mogstad, M., Romano, J. P., Shaikh, A. M. & Wilhelm, D. (2024). Inference for ranks with applications to mobility
    across neighbourhoods and academic achievement across countries. Review of Economic Studies 91, 476-518.
    """
    adjusted = np.asarray(adjust_p(p, correction))
    best, worst = np.ones(n_models, dtype=int), np.full(n_models, n_models)
    for (first, second), d, own in zip(pairs, difference, adjusted, strict=True):
        if own < alpha and d != 0:
            winner, loser = (first, second) if d > 0 else (second, first)
            best[loser] += 1
            worst[winner] -= 1
    return best, worst, adjusted
