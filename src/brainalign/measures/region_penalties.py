"""Penalties of ridge regression from many voxels by cross-validation over folds, without making the predictions.

For a penalty alpha, the rows P that a fold leaves out are predicted by P b, b = z / (l + alpha), in the eigenbasis of
the rows that are fitted. The squared error is ||y||^2 - 2 b'P'y + b'P'P b, so that P'P and P'y, taken once from the
products X'X and X'Y of the fold, stand for the rows: a penalty then costs voxels^2 a target, not voxels * rows. The
products of the rows that are fitted are those of all rows less those of the fold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean
from brainalign.measures.ridge import TIE, relative_alphas
from brainalign.measures.ridge_basis import decompose_gram, gram_matrix

Array = NDArray[np.float64]
Index = NDArray[np.intp]
FoldScore = Literal["l2", "r2", "r"]

#: Row blocks of a symmetric matrix, of which the half above the diagonal is passed over.
N_BANDS = 4


@dataclass(frozen=True)
class PenaltyChoice:
    """Penalties that cross-validation chose in one region.

    Attributes
    ----------
    alphas : ndarray, shape (n_targets,)
        The penalty of each target; of equal ones the largest.
    correlation : ndarray, shape (n_targets,)
        Pearson correlation on left-out rows with this penalty, mean over folds; NaN for a target that is constant in
        every fold.
    at_edge : ndarray of bool, shape (n_targets,)
        Whether the penalty is the first or last of the grid.
    """

    alphas: Array
    correlation: Array
    at_edge: NDArray[np.bool_]


@dataclass(frozen=True)
class _Fold:
    """A fold in the eigenbasis of the rows that are fitted; predictions are ``projection @ (z / (l + alpha))``."""

    rows: Index
    eigenvalues: Array
    coordinates: Array
    #: Rows left out, in that basis (m, rank); empty where `products` stand for it.
    projection: Array | None
    #: P'P (rank, rank), P'y (rank, n_targets), and the column sums of P (rank,).
    products: tuple[Array, Array, Array] | None
    #: Targets left out, less the training mean.
    left_out: Array
    mean: Array


def choose_penalties(
    voxels: NDArray[np.floating],
    targets: NDArray[np.floating],
    folds: NDArray[np.generic],
    alphas: Array | None = None,
    score: FoldScore = "l2",
) -> PenaltyChoice:
    """Choose a penalty for each target by cross-validation.

    Parameters
    ----------
    voxels : ndarray, shape (n_rows, n_voxels)
        Of one region; centred by the rows that are fitted in each fold.
    targets : ndarray, shape (n_rows, n_targets)
        What is decoded; centred likewise.
    folds : ndarray, shape (n_rows,)
        Labels: rows of one label are left out together.
    alphas : ndarray, shape (n_alphas,), optional
        Penalties, positive, in squared units of the voxels; the sixteen of
        :func:`~brainalign.measures.ridge.relative_alphas` if not given, relative to the variance of these voxels.
    score : {'l2', 'r2', 'r'}
        What is best in the mean over folds: squared error (the default of himalaya), squared error relative to the
        variance of the fold, or Pearson correlation.

    Returns
    -------
    PenaltyChoice
        Penalties and how well they predict.

    Raises
    ------
    MeasureError
        If all voxels are constant, penalties are not positive, or there are fewer than 2 folds.
    """
    if score not in get_args(FoldScore):
        raise MeasureError(f"no score of folds {score!r}; {did_you_mean(score, get_args(FoldScore))}")
    if alphas is None:
        variance = voxels.var(axis=0, dtype=np.float64).sum()
        alphas = relative_alphas(np.array([variance]), 1)
    if np.ptp(voxels, axis=0).max() == 0:
        raise MeasureError("the voxels are constant over the training rows: nothing can be decoded")
    # From large to small, so that among equal losses the largest penalty is taken.
    descending = np.sort(np.asarray(alphas, dtype=np.float64))[::-1]
    if descending.size == 0 or not (np.isfinite(descending) & (descending > 0)).all():
        raise MeasureError(f"penalties must be positive and finite, found {np.asarray(alphas).tolist()}")
    shape = (len(descending), targets.shape[1])
    losses, correlations, n_defined = np.zeros(shape), np.zeros(shape), np.zeros(shape[1])
    for fold in _folds(voxels, targets, folds):
        errors, r, defined = _score_fold(fold, descending)
        if score == "l2":
            losses += errors / len(fold.left_out)
        elif score == "r2":
            variance = ((fold.left_out - fold.left_out.mean(axis=0)) ** 2).sum(axis=0)
            losses += np.where(defined, errors / np.where(defined, variance, 1), 1)
        else:
            losses += 1 - r
        correlations += r
        n_defined += defined
    chosen = (losses <= losses.min(axis=0) * (1 + TIE)).argmax(axis=0)
    best = np.take_along_axis(correlations, chosen[None], axis=0)[0]
    mean_r = np.where(n_defined > 0, best / np.where(n_defined > 0, n_defined, 1), np.nan)
    return PenaltyChoice(descending[chosen], mean_r, (chosen == 0) | (chosen == len(descending) - 1))


def predict_left_out(
    voxels: NDArray[np.floating], targets: NDArray[np.floating], folds: NDArray[np.generic], alphas: Array
) -> Array:
    """Predict every row from the rows of the other folds, with penalties that are known.

    Parameters
    ----------
    voxels, targets, folds
        As for :func:`choose_penalties`.
    alphas : ndarray, shape (n_targets,)
        The penalty of each target.

    Returns
    -------
    ndarray, shape (n_rows, n_targets)
        In units of the targets.
    """
    predictions = np.empty(targets.shape)
    for fold in _folds(voxels, targets, folds, predicting=True):
        assert fold.projection is not None
        shrunk = fold.coordinates / (fold.eigenvalues[:, None] + alphas)
        predictions[fold.rows] = fold.projection @ shrunk + fold.mean
    return predictions


def _folds(
    voxels: NDArray[np.floating], targets: NDArray[np.floating], folds: NDArray[np.generic], predicting: bool = False
) -> Iterator[_Fold]:
    """Give the folds, decomposed from the smaller side; with explicit projections if they are to be predicted."""
    labels = list(dict.fromkeys(folds.tolist()))
    if len(folds) != len(voxels) or len(labels) < 2:
        raise MeasureError(
            f"{len(folds)} labels of {len(labels)} folds for {len(voxels)} training rows; "
            f"expected a label each and at least 2 folds"
        )
    out = [np.flatnonzero(folds == label) for label in labels]
    fewest = len(folds) - max(map(len, out))
    if voxels.shape[1] >= fewest:
        yield from _dual_folds(voxels, targets, out)
    else:
        yield from _primal_folds(voxels, targets, out, predicting)


def _dual_folds(voxels: NDArray[np.floating], targets: NDArray[np.floating], out: list[Index]) -> Iterator[_Fold]:
    gram = gram_matrix(voxels)
    for rows in out:
        train = np.setdiff1d(np.arange(len(gram)), rows)
        basis = decompose_gram(gram, train.tolist(), rows.tolist())
        mean = targets[train].mean(axis=0, dtype=np.float64)
        coordinates = basis.basis.T @ (targets[train] - mean)
        yield _Fold(rows, basis.eigenvalues, coordinates, basis.projection, None, targets[rows] - mean, mean)


def _primal_folds(
    voxels: NDArray[np.floating], targets: NDArray[np.floating], out: list[Index], predicting: bool
) -> Iterator[_Fold]:
    # Centred by all rows first, so that the means of folds that are taken off the products are small.
    x = voxels.astype(np.float64)
    x -= x.mean(axis=0)
    mean = targets.mean(axis=0, dtype=np.float64)
    y = targets - mean
    squares, cross = [x[rows].T @ x[rows] for rows in out], [x[rows].T @ y[rows] for rows in out]
    all_squares, all_cross = np.sum(squares, axis=0), np.sum(cross, axis=0)
    for k, rows in enumerate(out):
        n_train = len(x) - len(rows)
        x_sum, y_sum = x[rows].sum(axis=0), y[rows].sum(axis=0)
        x_mean, y_mean = -x_sum / n_train, -y_sum / n_train
        eigenvalues, basis = np.linalg.eigh(all_squares - squares[k] - n_train * np.outer(x_mean, x_mean))
        keep = eigenvalues > eigenvalues[-1] * len(x) * np.finfo(float).eps
        if not keep.any():
            raise MeasureError("the voxels are constant over the rows of all folds but one: nothing can be decoded")
        eigenvalues, basis = eigenvalues[keep], basis[:, keep]
        coordinates = basis.T @ (all_cross - cross[k] - n_train * np.outer(x_mean, y_mean))
        left_out = y[rows] - y_mean
        projection = products = None
        if predicting or len(rows) <= x.shape[1]:
            projection = (x[rows] - x_mean) @ basis
        else:
            inner = squares[k] - np.outer(x_mean, x_sum) - np.outer(x_sum - len(rows) * x_mean, x_mean)
            outer = cross[k] - np.outer(x_mean, y_sum) - np.outer(x_sum - len(rows) * x_mean, y_mean)
            products = basis.T @ inner @ basis, basis.T @ outer, (x_sum - len(rows) * x_mean) @ basis
        yield _Fold(rows, eigenvalues, coordinates, projection, products, left_out, mean + y_mean)


def _score_fold(fold: _Fold, alphas: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return squared errors and correlations (n_alphas, n_targets), and which targets vary in the fold."""
    y, m = fold.left_out, len(fold.left_out)
    y_sum, y_squares = y.sum(axis=0), np.einsum("ij,ij->j", y, y)
    y_variance = y_squares - y_sum**2 / m
    defined = np.ptp(y, axis=0) > 0
    square = None if fold.products is None else _bands(fold.products[0])
    errors, correlations = np.empty((2, len(alphas), y.shape[1]))
    for a, alpha in enumerate(alphas):
        b = fold.coordinates / (fold.eigenvalues + alpha)[:, None]
        if square is None or fold.products is None:
            predicted = fold.projection @ b
            total, cross = predicted.sum(axis=0), np.einsum("ij,ij->j", predicted, y)
            squares = np.einsum("ij,ij->j", predicted, predicted)
        else:
            total, cross = fold.products[2] @ b, np.einsum("ij,ij->j", fold.products[1], b)
            squares = np.zeros(len(y_sum))
            for start, band in square:
                stop = start + len(band)
                squares += np.einsum("ij,ij->j", b[start:stop], band @ b[:stop])
        errors[a] = y_squares - 2 * cross + squares
        variance = squares - total**2 / m
        varies = defined & (variance > 1e-14 * squares)
        spread = np.sqrt(np.where(varies, variance * y_variance, 1))
        correlations[a] = np.where(varies, (cross - total * y_sum / m) / spread, 0)
    return errors, correlations, defined


def _bands(square: Array) -> list[tuple[int, Array]]:
    """Cut a symmetric matrix into bands of rows, up to the diagonal block; what lies before it counts twice."""
    edges = np.linspace(0, len(square), N_BANDS + 1).astype(int).tolist()
    bands = []
    for start, stop in pairwise(edges):
        band = square[start:stop, :stop].copy()
        band[:, :start] *= 2
        bands.append((start, band))
    return bands
