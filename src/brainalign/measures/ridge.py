"""Ridge regression for many targets: one decomposition, every alpha, left-out errors in closed form.

Features are decomposed once (:mod:`brainalign.measures.ridge_basis`); every penalty and target works in that basis.
Each target takes the penalty of least leave-one-out error, or of least error over given folds
(:mod:`brainalign.measures.ridge_errors`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import DTypeLike, NDArray

from brainalign.errors import MeasureError
from brainalign.measures.ridge_basis import (
    FEATURE_BLOCK,
    Decomposition,
    decompose,
    decompose_gram,
    decompose_splits,
    gram_matrix,
)
from brainalign.measures.ridge_errors import kfold_errors, leave_one_out_errors

__all__ = [
    "TIE",
    "Decomposition",
    "RidgeFit",
    "decompose",
    "decompose_gram",
    "decompose_splits",
    "gram_matrix",
    "kfold_errors",
    "leave_one_out_errors",
    "relative_alphas",
    "ridge_coefficients",
    "ridge_predict",
]

Array = NDArray[np.float64]

#: Left-out errors that differ by less, relatively, are equal but for rounding.
TIE = 1e-12
#: The same for products in single precision.
TIE_SINGLE = 1e-5
#: Targets that are predicted at a time.
PREDICTED = 1024


def relative_alphas(eigenvalues: Array, n_train: int) -> Array:
    """Return the default penalties: 16, from 1e-9 to 1e6 times the mean eigenvalue of X X'.

    At the lower end the fit all but interpolates; beyond the upper one predictions only shrink, to which a
    correlation is blind.

    Parameters
    ----------
    eigenvalues : ndarray, shape (rank,)
        Non-zero eigenvalues of X X'.
    n_train : int
        Training stimuli.

    Returns
    -------
    ndarray, shape (16,)
        Ascending.
    """
    return np.asarray(eigenvalues.sum() / n_train * np.logspace(-9, 6, 16))


@dataclass(frozen=True)
class RidgeFit:
    """Predictions of one fit, the penalties that left-out errors chose, and their error.

    Attributes
    ----------
    predictions : ndarray, shape (n_test, n_targets)
        For the test stimuli, in units of the targets.
    alphas : ndarray, shape (n_targets,)
        The penalty of each target; of equal ones the largest.
    loo_r2 : ndarray, shape (n_targets,)
        1 - leave-one-out error (with `folds`: error of the folds left out) / variance, on the training stimuli; NaN
        for a target that is constant there.
    at_edge : ndarray of bool, shape (n_targets,)
        Whether the penalty is the first or last of the grid.
    """

    predictions: Array
    alphas: Array
    loo_r2: Array
    at_edge: NDArray[np.bool_]


def ridge_predict(
    decomposition: Decomposition,
    train_targets: NDArray[np.floating],
    alphas: Array | None = None,
    block: int = 8192,
    *,
    folds: NDArray[np.generic] | None = None,
    share: NDArray[np.intp] | None = None,
    dtype: DTypeLike = np.float64,
    device: str | None = None,
) -> RidgeFit:
    """Fit ridge regression with an intercept and predict, each target with the penalty of least left-out error.

    Parameters
    ----------
    decomposition : Decomposition
        Of the features, see :func:`decompose`.
    train_targets : ndarray, shape (n_train, n_targets)
        Training targets.
    alphas : ndarray, shape (n_alphas,), optional
        Penalties, positive; :func:`relative_alphas` if not given.
    block : int
        Targets that are worked on at a time; the result does not depend on it but for rounding.
    folds : ndarray, shape (n_train,), optional
        Labels: training stimuli of one label are left out together (inner K-fold, or groups that must not be torn
        apart). Leave-one-out if not given.
    share : ndarray of int, shape (n_targets,), optional
        Targets of the same number share one penalty, that of least mean over them of error / variance; zeros give one
        penalty for all. Each target has its own if not given.
    dtype : {float64, float32}
        Precision of the products by which penalties are chosen; predictions are always made in double precision. In
        single precision errors that differ by less than 1e-5 of themselves count as equal.
    device : str, optional
        A torch device (``"cuda"``) for these products.

    Returns
    -------
    RidgeFit
        Predictions and how they came about.

    Raises
    ------
    MeasureError
        If a penalty is not positive, or the folds are impossible.
    """
    if alphas is None:
        alphas = relative_alphas(decomposition.eigenvalues, len(decomposition.basis))
    # From large to small, so that among equal errors the largest penalty is taken.
    descending = np.sort(np.asarray(alphas, dtype=np.float64))[::-1]
    if descending.size == 0 or not (np.isfinite(descending) & (descending > 0)).all():
        raise MeasureError(f"penalties must be positive and finite, found {np.asarray(alphas).tolist()}")
    left_out = leave_one_out_errors if folds is None else partial(kfold_errors, folds=np.asarray(folds))
    # Each column is summed by itself: its mean then does not depend on the columns beside it, down to rounding.
    mean = np.ascontiguousarray(train_targets.T, dtype=np.float64).mean(axis=1)
    centred = train_targets - mean
    variance = np.where(
        (train_targets == train_targets[0]).all(axis=0), np.nan, np.einsum("ij,ij->j", centred, centred)
    )
    variance /= len(centred)
    n_targets = centred.shape[1]
    blocks = [slice(start, start + block) for start in range(0, n_targets, block)]
    errors = np.concatenate(
        [left_out(decomposition, centred[:, part], descending, dtype=dtype, device=device) for part in blocks], axis=1
    )
    tie = TIE if np.dtype(dtype) == np.float64 else TIE_SINGLE
    if share is None:
        chosen = _least(errors, tie)
    else:
        # A constant target, of which any penalty makes the same, has no vote.
        votes = [np.bincount(share, weights=row) for row in np.nan_to_num(errors / variance, nan=0.0)]
        chosen = _least(np.stack(votes), tie)[share]
    predictions = np.empty((len(decomposition.projection), n_targets))
    for start in range(0, n_targets, PREDICTED):
        part = slice(start, start + PREDICTED)
        shrunk = _shrunk(decomposition, centred[:, part], descending[chosen[part]])
        predictions[:, part] = decomposition.projection @ shrunk + mean[part]
    loo_r2 = 1 - np.take_along_axis(errors, chosen[None], axis=0)[0] / variance
    return RidgeFit(predictions, descending[chosen], loo_r2, (chosen == 0) | (chosen == len(descending) - 1))


def ridge_coefficients(
    decomposition: Decomposition, train: NDArray[np.floating], train_targets: NDArray[np.floating], alphas: Array
) -> tuple[Array, Array]:
    """Return the weights of the features, for penalties that are known.

    Predictions do not need them; of many features and targets they are large.

    Parameters
    ----------
    decomposition : Decomposition
        Of the features, see :func:`decompose`.
    train : ndarray, shape (n_train, n_features)
        The training features that were decomposed.
    train_targets : ndarray, shape (n_train, n_targets)
        Training targets.
    alphas : ndarray, shape (n_targets,)
        The penalty of each target, as in :class:`RidgeFit`.

    Returns
    -------
    coefficients : ndarray, shape (n_features, n_targets)
        In units of the targets per unit of the features.
    intercepts : ndarray, shape (n_targets,)
        ``features @ coefficients + intercepts`` predicts.
    """
    mean = train_targets.mean(axis=0, dtype=np.float64)
    weights = decomposition.basis @ _shrunk(decomposition, train_targets - mean, alphas)
    feature_mean = train.mean(axis=0, dtype=np.float64)
    coefficients = np.empty((train.shape[1], len(mean)))
    for start in range(0, train.shape[1], FEATURE_BLOCK):
        part = slice(start, start + FEATURE_BLOCK)
        coefficients[part] = (train[:, part] - feature_mean[part]).T @ weights
    return coefficients, mean - feature_mean @ coefficients


def _least(errors: Array, tie: float) -> NDArray[np.intp]:
    """Return the first row whose error is the least of its column but for rounding."""
    return np.asarray((errors <= errors.min(axis=0) * (1 + tie)).argmax(axis=0))


def _shrunk(decomposition: Decomposition, centred: Array, alphas: Array) -> Array:
    """Return U'y / (l + alpha), each target with its penalty."""
    shrunk = decomposition.basis.T @ centred
    shrunk /= decomposition.eigenvalues[:, None] + alphas
    return shrunk
