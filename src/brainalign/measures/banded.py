"""Banded ridge regression: several feature spaces, each with its own penalty, chosen for each target.

A penalty for each space is the same as one penalty, alpha, on spaces that are scaled: with kernels K_s = X_s X_s', each
divided by its mean eigenvalue on the training stimuli, and band weights w that add up to 1, the fit is that of ridge
regression with the kernel sum_s w_s K_s, and space s is penalised by alpha / w_s. A band weight of 0 leaves a space
out. Each choice of weights costs one decomposition, in which all penalties and targets are worked out
(:mod:`brainalign.measures.ridge`); every target takes the weights and the penalty of least leave-one-out error.

References
----------
Nunez-Elizalde, A. O., Huth, A. G. & Gallant, J. L. (2019). Voxelwise encoding models with non-spherical multivariate
normal priors. NeuroImage 197, 482-492. Dupré la Tour, T., Eickenberg, M., Nunez-Elizalde, A. O. & Gallant, J. L.
(2022). Feature-space selection with banded ridge regression. NeuroImage 264, 119728.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError
from brainalign.measures.ridge import TIE, Decomposition, decompose_gram, ridge_predict

Array = NDArray[np.float64]

#: Weights that a space may have relative to the heaviest: finer for two spaces than for more, whose number of
#: combinations grows fast (11 of two spaces, 37 of three).
_LEVELS, _LEVELS_OF_TWO = (1.0, 0.1, 0.01, 0.0), (1.0, 0.3, 0.1, 0.01, 0.001, 0.0)


def band_weights(n_spaces: int) -> Array:
    """Return the default grid of band weights.

    Parameters
    ----------
    n_spaces : int
        Number of feature spaces.

    Returns
    -------
    ndarray, shape (n_weights, n_spaces)
        Rows add up to 1. Every set of spaces, by itself and with equal weights, is among them.
    """
    levels = _LEVELS_OF_TWO if n_spaces <= 2 else _LEVELS
    relative = np.array([row for row in product(levels, repeat=n_spaces) if max(row) == 1])
    return np.asarray(relative / relative.sum(axis=1, keepdims=True))


def mean_eigenvalue(kernel: Array, train: Sequence[int]) -> float:
    """Return the mean eigenvalue of a kernel on the training stimuli, centred there.

    Parameters
    ----------
    kernel : ndarray, shape (n_stimuli, n_stimuli)
        Products X X' of the features; see :func:`~brainalign.measures.ridge.gram_matrix`.
    train : sequence of int
        Row numbers.

    Returns
    -------
    float
        Summed variance of the features over the training stimuli.

    Raises
    ------
    MeasureError
        If the features do not differ between these stimuli.
    """
    within = kernel[np.ix_(train, train)]
    value = float(np.trace(within) / len(within) - within.mean())
    if value <= np.finfo(float).eps * np.trace(within):
        raise MeasureError("the features do not differ between the training stimuli: nothing can be predicted")
    return value


@dataclass(frozen=True)
class BandedFit:
    """Predictions of banded ridge regression, and what leave-one-out error chose.

    Attributes
    ----------
    predictions : ndarray, shape (n_test, n_targets)
        For the test stimuli, in units of the targets.
    weights : ndarray, shape (n_targets, n_spaces)
        Band weights; they add up to 1.
    alphas : ndarray, shape (n_targets,)
        Penalty; space s is penalised by ``alpha / weight`` relative to its mean eigenvalue.
    loo_r2 : ndarray, shape (n_targets,)
        1 - leave-one-out error / variance, on the training stimuli. The best of many choices, hence optimistic.
    at_edge : ndarray of bool, shape (n_targets,)
        Whether the penalty is the first or last of the grid.
    """

    predictions: Array
    weights: Array
    alphas: Array
    loo_r2: Array
    at_edge: NDArray[np.bool_]


def banded_ridge_predict(
    kernels: Sequence[Array],
    train: Sequence[int],
    test: Sequence[int],
    train_targets: NDArray[np.floating],
    *,
    weights: Array | None = None,
    alphas: Array | None = None,
) -> BandedFit:
    """Fit banded ridge regression with an intercept and predict.

    Parameters
    ----------
    kernels : sequence of ndarray, each of shape (n_stimuli, n_stimuli)
        One for each space: products X X', see :func:`~brainalign.measures.ridge.gram_matrix`.
    train, test : sequence of int
        Row numbers.
    train_targets : ndarray, shape (n_train, n_targets)
        Training targets.
    weights : ndarray, shape (n_weights, n_spaces), optional
        Band weights to choose from, not negative, of each row any positive sum; :func:`band_weights` if not given.
    alphas : ndarray, shape (n_alphas,), optional
        Penalties to choose from, relative to kernels of mean eigenvalue 1;
        :func:`~brainalign.measures.ridge.relative_alphas` if not given.

    Returns
    -------
    BandedFit
        Each target with its own weights and penalty; of equal ones the first weights and the largest penalty.

    Raises
    ------
    MeasureError
        If weights are negative or do not fit the number of spaces, or a space does not differ between training stimuli.
    """
    grid = band_weights(len(kernels)) if weights is None else np.asarray(weights, dtype=np.float64)
    if grid.ndim != 2 or grid.shape[1] != len(kernels) or (grid < 0).any() or not (grid.sum(axis=1) > 0).all():
        raise MeasureError(
            f"band weights must be rows of {len(kernels)} numbers, one for each space, none negative and not all 0; "
            f"found shape {grid.shape}, least {grid.min(initial=np.inf)}"
        )
    grid = grid / grid.sum(axis=1, keepdims=True)
    normalised = _normalised(kernels, train)
    best: BandedFit | None = None
    for row in grid:
        fit = ridge_predict(decompose_gram(np.tensordot(row, normalised, 1), train, test), train_targets, alphas)
        own = BandedFit(fit.predictions, np.tile(row, (len(fit.alphas), 1)), fit.alphas, fit.loo_r2, fit.at_edge)
        if best is None:
            best = own
        else:
            _take_better(best, own)
    assert best is not None
    return best


def left_out_predictions(kernels: Sequence[Array], train: Sequence[int], train_targets: Array, fit: BandedFit) -> Array:
    """Predict each training stimulus from all others, with the weights and penalties of a fit.

    Parameters
    ----------
    kernels, train, train_targets
        As for :func:`banded_ridge_predict`.
    fit : BandedFit
        What it gave for them.

    Returns
    -------
    ndarray, shape (n_train, n_targets)
        In units of the targets. Penalties are not chosen anew without the stimulus.
    """
    normalised = _normalised(kernels, train)
    predictions = np.empty(train_targets.shape)
    for row, chose in _by_row(fit.weights):
        decomposition = decompose_gram(np.tensordot(row, normalised, 1), train, train)
        y = train_targets[:, chose]
        predictions[:, chose] = y - _left_out_residuals(decomposition, y, fit.alphas[chose])
    return predictions


def squared_error_without(
    kernels: Sequence[Array],
    train: Sequence[int],
    test: Sequence[int],
    train_targets: Array,
    test_targets: Array,
    fit: BandedFit,
) -> Array:
    """Return the error on the test stimuli of fits that lack one training stimulus each.

    To leave stimulus i out is to replace its target by what the others predict for it. With H the matrix that takes
    training targets to predictions, and e_i the leave-one-out residual, predictions change by -H_ji e_i.

    Parameters
    ----------
    kernels, train, test, train_targets
        As for :func:`banded_ridge_predict`.
    test_targets : ndarray, shape (n_test, n_targets)
        What was measured for the test stimuli.
    fit : BandedFit
        What that function gave for them.

    Returns
    -------
    ndarray, shape (n_train, n_targets)
        Squared error, summed over the test stimuli; weights and penalties are those of the fit.
    """
    normalised = _normalised(kernels, train)
    missed = test_targets - fit.predictions
    errors = np.empty(train_targets.shape)
    for row, chose in _by_row(fit.weights):
        decomposition = decompose_gram(np.tensordot(row, normalised, 1), train, test)
        residuals = _left_out_residuals(decomposition, train_targets[:, chose], fit.alphas[chose])
        for alpha, own in _by_row(fit.alphas[chose]):
            shrunk = decomposition.projection / (decomposition.eigenvalues + alpha)
            hat = shrunk @ decomposition.basis.T + 1 / len(train)
            e, r = residuals[:, own], missed[:, chose[own]]
            errors[:, chose[own]] = (r**2).sum(axis=0) + 2 * e * (hat.T @ r) + e**2 * (hat**2).sum(axis=0)[:, None]
    return errors


def _by_row(rows: Array) -> Iterator[tuple[Array, NDArray[np.intp]]]:
    """Give each different row, and where it stands."""
    unique, inverse = np.unique(rows, axis=0, return_inverse=True)
    for k, row in enumerate(unique):
        yield row, np.flatnonzero(inverse.ravel() == k)


def _normalised(kernels: Sequence[Array], train: Sequence[int]) -> Array:
    """Return kernels of mean eigenvalue 1, (n_spaces, n_stimuli, n_stimuli)."""
    return np.stack([kernel / mean_eigenvalue(kernel, train) for kernel in kernels])


def _take_better(best: BandedFit, other: BandedFit) -> None:
    """Put another fit into the best, in place, for the targets whose left-out error it lowers."""
    better = np.nan_to_num(other.loo_r2, nan=-np.inf) > np.nan_to_num(best.loo_r2, nan=-np.inf) + TIE
    for name in ("weights", "alphas", "loo_r2", "at_edge"):
        getattr(best, name)[better] = getattr(other, name)[better]
    np.copyto(best.predictions, other.predictions, where=better)


def _left_out_residuals(decomposition: Decomposition, targets: Array, alphas: Array) -> Array:
    """Return residuals c / d, see :mod:`brainalign.measures.ridge_errors`, each target with its penalty."""
    u = decomposition.basis
    v = alphas / (decomposition.eigenvalues[:, None] + alphas)
    centred = targets - targets.mean(axis=0)
    coordinates = u.T @ centred
    if decomposition.spans_all:
        # Both are scaled by 1 / max(v), so that they do not go to zero together.
        v /= v.max(axis=0)
        return np.asarray((u @ (v * coordinates)) / (u**2 @ v))
    return np.asarray((centred - u @ ((1 - v) * coordinates)) / (1 - 1 / len(u) - u**2 @ (1 - v)))
