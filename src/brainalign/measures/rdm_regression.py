"""Regression RSA: how well several RDMs together predict that of a brain, on stimuli they were not fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError
from brainalign.measures.rdm_compare import Comparison, check_comparison, check_varied, compare_rdms, n_stimuli

Array = NDArray[np.float64]
#: Fewer stimuli in a fold leave too few pairs to score.
LEAST_IN_FOLD = 4


@dataclass(frozen=True)
class RegressionRSA:
    """Result of :func:`regression_rsa`.

    Attributes
    ----------
    weights : ndarray, shape (n_models,)
        Standardised weights, fitted to all stimuli: how many standard deviations the distances of the brain grow with
        one of the model's, the other models held.
    score : float
        Mean over folds of the comparison of predicted and measured distances.
    fold_scores : ndarray, shape (n_folds,)
        The score of each fold.
    folds : ndarray of int, shape (n_stimuli,)
        Which fold tested each stimulus.
    """

    weights: Array
    score: float
    fold_scores: Array
    folds: NDArray[np.intp]


def regression_rsa(
    models: Array,
    brain: Array,
    *,
    nonnegative: bool = False,
    n_folds: int = 5,
    comparison: Comparison = "pearson",
    seed: int = 0,
) -> RegressionRSA:
    """Predict the RDM of a brain by a weighted sum of RDMs, cross-validated over stimuli.

    Parameters
    ----------
    models : ndarray, shape (n_models, n_pairs)
        Distances, see :func:`~brainalign.measures.rdm.pair_values`.
    brain : ndarray, shape (n_pairs,)
        Distances to predict.
    nonnegative : bool
        Keep all weights at or above 0, as squared distances in a feature space that joins those of the models have.
    n_folds : int
        Stimuli are dealt at random into so many folds. Weights come from pairs of which no stimulus is in the fold, the
        score from pairs of which both are; mixed pairs are not used.
    comparison : str
        Of predicted and measured distances, see :func:`~brainalign.measures.rdm_compare.compare_rdms`.
    seed : int
        Seed of the folds.

    Returns
    -------
    RegressionRSA
        Weights and cross-validated score.

    Raises
    ------
    MeasureError
        If sizes differ, folds are too small, an RDM has no differences (also within a fold), or there are more models
        than pairs to fit.
    """
    check_comparison(comparison)
    models, brain = np.atleast_2d(models), np.asarray(brain, dtype=np.float64)
    if brain.shape != (models.shape[1],):
        raise MeasureError(f"the brain's RDM has shape {brain.shape}, expected ({models.shape[1]},) like the models'")
    n = n_stimuli(len(brain))
    if not 2 <= n_folds <= n // LEAST_IN_FOLD:
        raise MeasureError(
            f"{n_folds} folds of {n} stimuli: at least 2 folds and {LEAST_IN_FOLD} stimuli in each are needed, so "
            f"n_folds is 2 to {n // LEAST_IN_FOLD} here"
            if n >= 2 * LEAST_IN_FOLD
            else f"{n} stimuli are too few for regression RSA, at least {2 * LEAST_IN_FOLD} needed"
        )
    check_varied(np.vstack([models, brain]), [*(f"model {i}" for i in range(len(models))), "the brain"])
    folds = np.random.default_rng(seed).permutation(np.arange(n) % n_folds)
    first, second = (folds[side] for side in np.triu_indices(n, 1))
    scores = np.empty(n_folds)
    for fold in range(n_folds):
        train, test = (first != fold) & (second != fold), (first == fold) & (second == fold)
        weights, mean, spread = _fit(models[:, train], brain[train], nonnegative)
        predicted = (weights / spread) @ (models[:, test] - mean[:, None])
        scores[fold] = compare_rdms(predicted, brain[test], comparison).item()
    if not np.isfinite(scores).all():
        raise MeasureError(
            f"the measured or predicted distances do not differ in fold {int(np.argmin(np.isfinite(scores)))}; "
            f"use fewer folds"
        )
    return RegressionRSA(_fit(models, brain, nonnegative)[0], float(scores.mean()), scores, folds)


def _fit(models: Array, brain: Array, nonnegative: bool) -> tuple[Array, Array, Array]:
    """Return standardised weights, and mean and spread of the models' distances."""
    from scipy.optimize import nnls

    if len(models) >= len(brain):
        raise MeasureError(f"{len(models)} models cannot be fitted to {len(brain)} pairs of stimuli")
    mean, spread = models.mean(axis=1), models.std(axis=1)
    if not spread.all():
        raise MeasureError("the distances of a model do not differ between the stimuli of a training set")
    columns = ((models - mean[:, None]) / spread[:, None]).T
    target = (brain - brain.mean()) / brain.std()
    weights = nnls(columns, target)[0] if nonnegative else np.linalg.lstsq(columns, target, rcond=None)[0]
    return np.asarray(weights, dtype=np.float64), mean, spread
