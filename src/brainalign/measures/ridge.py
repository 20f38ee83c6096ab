"""Ridge regression for many targets: one decomposition, every alpha, exact leave-one-out.

With centred features X (n x p), their left singular vectors U and squared singular values l, the fitted values
for a centred target y are U diag(l / (l + alpha)) U'y. Leaving stimulus i out of the fit, intercept included,
gives the residual c_i / d_i with

    c = y_perp + U diag(v) U'y,    d = 1 - 1/n - sum_k U_ik^2 (1 - v_k),    v = alpha / (l + alpha),

y_perp being what X cannot reach. Nothing here divides by alpha, so it holds down to the interpolating fit of
more features than stimuli (p > n), where both c and d go to zero together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError

Array = NDArray[np.float64]

#: Leave-one-out errors that differ by less, relatively, are equal but for rounding.
TIE = 1e-12


@dataclass(frozen=True)
class Decomposition:
    """Centred training features in the basis of their left singular vectors.

    Attributes
    ----------
    mean : ndarray, shape (n_features,)
        Training mean.
    basis : ndarray, shape (n_train, rank)
        Left singular vectors U; orthogonal to the constant.
    eigenvalues : ndarray, shape (rank,)
        Squared singular values, all positive.
    projection : ndarray, shape (n_test, rank)
        X_test X_train' U: what predictions are made of.
    """

    mean: Array
    basis: Array
    eigenvalues: Array
    projection: Array

    @property
    def spans_all(self) -> bool:
        """Whether the features can reach every centred target."""
        return bool(self.basis.shape[1] == self.basis.shape[0] - 1)


def decompose(train: NDArray[np.floating], test: NDArray[np.floating]) -> Decomposition:
    """Centre features by their training mean and decompose them, from the smaller side.

    Parameters
    ----------
    train : ndarray, shape (n_train, n_features)
        Training features.
    test : ndarray, shape (n_test, n_features)
        Test features.

    Returns
    -------
    Decomposition
        In double precision.

    Raises
    ------
    MeasureError
        If the features do not differ between training stimuli.
    """
    mean = train.mean(axis=0, dtype=np.float64)
    x, x_test = train - mean, test - mean
    n, p = x.shape
    if p < n:
        basis, singular, right = np.linalg.svd(x, full_matrices=False)
        eigenvalues = singular**2
        projection = x_test @ right.T * singular
    else:
        eigenvalues, basis = np.linalg.eigh(x @ x.T)
        projection = (x_test @ x.T) @ basis
    # Centring takes one dimension away when p >= n; its eigenvalue is zero but for rounding.
    threshold = eigenvalues.max(initial=0.0) * n * np.finfo(float).eps
    keep = eigenvalues > threshold
    if not keep.any():
        raise MeasureError("the features do not differ between the training stimuli: nothing can be predicted")
    return Decomposition(mean, basis[:, keep], eigenvalues[keep], projection[:, keep])


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


def leave_one_out_errors(decomposition: Decomposition, targets: Array, alphas: Array) -> Array:
    """Return the mean squared leave-one-out error of each target and alpha.

    Parameters
    ----------
    decomposition : Decomposition
        Of the training features.
    targets : ndarray, shape (n_train, n_targets)
        Training targets, centred.
    alphas : ndarray, shape (n_alphas,)
        Penalties.

    Returns
    -------
    ndarray, shape (n_alphas, n_targets)
        Errors in squared units of the targets.
    """
    u = decomposition.basis
    n = len(u)
    coordinates = u.T @ targets
    squares = u**2
    errors = np.empty((len(alphas), targets.shape[1]))
    if decomposition.spans_all:
        unreached, beyond = np.zeros(1), np.zeros(n)
    else:
        unreached, beyond = targets - u @ coordinates, 1 - 1 / n - squares.sum(axis=1)
    for i, alpha in enumerate(alphas):
        v = alpha / (decomposition.eigenvalues + alpha)
        # Both c and d are scaled by 1/max(v), so that tiny penalties do not underflow.
        v_scale = 1 / v.max() if decomposition.spans_all else 1.0
        v = v * v_scale
        left_out = (unreached + u @ (v[:, None] * coordinates)) / (beyond + squares @ v)[:, None]
        errors[i] = np.einsum("ij,ij->j", left_out, left_out) / n
    return errors


@dataclass(frozen=True)
class RidgeFit:
    """Predictions of one fit, the penalties that leave-one-out chose, and their error.

    Attributes
    ----------
    predictions : ndarray, shape (n_test, n_targets)
        For the test stimuli, in units of the targets.
    alphas : ndarray, shape (n_targets,)
        The penalty of each target; of equal ones the largest.
    loo_r2 : ndarray, shape (n_targets,)
        1 - leave-one-out error / variance, on the training stimuli; NaN for a target that is constant there.
    at_edge : ndarray of bool, shape (n_targets,)
        Whether the penalty is the first or last of the grid.
    """

    predictions: Array
    alphas: Array
    loo_r2: Array
    at_edge: NDArray[np.bool_]


def ridge_predict(
    decomposition: Decomposition, train_targets: Array, alphas: Array | None = None, block: int = 4096
) -> RidgeFit:
    """Fit ridge regression with an intercept and predict, each target with the penalty of least leave-one-out error.

    Parameters
    ----------
    decomposition : Decomposition
        Of the features, see :func:`decompose`.
    train_targets : ndarray, shape (n_train, n_targets)
        Training targets.
    alphas : ndarray, shape (n_alphas,), optional
        Penalties; :func:`relative_alphas` if not given.
    block : int
        Targets that are worked on at a time.

    Returns
    -------
    RidgeFit
        Predictions and how they came about.
    """
    if alphas is None:
        alphas = relative_alphas(decomposition.eigenvalues, len(decomposition.basis))
    # From large to small, so that among equal errors the largest penalty is taken.
    descending = np.sort(np.asarray(alphas, dtype=np.float64))[::-1]
    # Each column is summed by itself: its mean then does not depend on the columns beside it, down to rounding.
    mean = np.ascontiguousarray(train_targets.T).mean(axis=1)
    n_targets = train_targets.shape[1]
    predictions = np.empty((len(decomposition.projection), n_targets))
    chosen, error = np.empty(n_targets, dtype=int), np.empty(n_targets)
    for start in range(0, n_targets, block):
        part = slice(start, start + block)
        centred = train_targets[:, part] - mean[part]
        errors = leave_one_out_errors(decomposition, centred, descending)
        error[part] = errors.min(axis=0)
        chosen[part] = (errors <= error[part] * (1 + TIE)).argmax(axis=0)
        coordinates = decomposition.basis.T @ centred
        shrunk = coordinates / (decomposition.eigenvalues[:, None] + descending[chosen[part]])
        predictions[:, part] = decomposition.projection @ shrunk + mean[part]
    variance = train_targets.var(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        loo_r2 = np.where(variance > 0, 1 - error / variance, np.nan)
    return RidgeFit(predictions, descending[chosen], loo_r2, (chosen == 0) | (chosen == len(descending) - 1))
