"""Left-out errors of ridge regression for every penalty and target, by which a penalty is chosen.

With left singular vectors U of the centred features and squared singular values l, the fitted values for a centred
target y are U diag(l / (l + alpha)) U'y. Leaving stimulus i out of the fit, intercept included, gives the residual
c_i / d_i with

    c = y_perp + U diag(v) U'y,    d = 1 - 1/n - sum_k U_ik^2 (1 - v_k),    v = alpha / (l + alpha),

y_perp being what X cannot reach. Nothing here divides by alpha, so it holds down to the interpolating fit of
more features than stimuli (p > n), where both c and d go to zero together.

Each penalty costs one matrix product with all targets. Far beyond the eigenvalues the errors are power series in alpha
or 1/alpha, with poles at -l, so that a wide grid needs few products there: see :func:`_stand_ins`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import DTypeLike, NDArray

from brainalign.errors import MeasureError
from brainalign.measures.ridge_basis import Decomposition, decompose

Array = NDArray[np.float64]
#: A band of rows that some penalties have in common: a matrix M for each (n_penalties, n_rows, rank - start), how many
#: leading coordinates it does not need (start), and weights w (n_penalties, n_rows). Over all bands, errors are the
#: sums of w_i (M z + offset)_i^2.
Band = tuple[Array, int, Array]

#: Penalties this many times below the least (or above the largest) eigenvalue are interpolated from
#: `N_STAND_INS` Chebyshev nodes. The relative error is of the order (2 N + 2) / (4 FAR)^N = 1e-17: below rounding.
FAR = 1e3
N_STAND_INS = 5
#: Weights of rows that differ by less than this factor can be folded into a triangular matrix without loss of digits.
EVEN = 1e3
#: Bands of rows of a triangular matrix: three eighths of it are zeros that need no product.
N_BANDS = 4
#: Penalties whose matrices are put on top of each other for one product, if they have fewer entries than that together,
#: and columns that are worked on at a time: what lies between two products then stays in the cache.
N_STACKED, STACKED_ENTRIES, COLUMNS = 8, 4_000_000, 512


def leave_one_out_errors(
    decomposition: Decomposition,
    targets: Array,
    alphas: Array,
    *,
    dtype: DTypeLike = np.float64,
    device: str | None = None,
) -> Array:
    """Return the mean squared leave-one-out error of each target and alpha.

    Parameters
    ----------
    decomposition : Decomposition
        Of the training features.
    targets : ndarray, shape (n_train, n_targets)
        Training targets, centred.
    alphas : ndarray, shape (n_alphas,)
        Penalties, positive.
    dtype : {float64, float32}
        Precision of the products with the targets.
    device : str, optional
        A torch device for these products; numpy if not given.

    Returns
    -------
    ndarray, shape (n_alphas, n_targets)
        Errors in squared units of the targets.
    """
    u, eigenvalues = decomposition.basis, decomposition.eigenvalues
    coordinates = u.T @ targets
    squares = u**2
    offset, beyond = None, np.zeros(len(u))
    if not decomposition.spans_all:
        offset, beyond = targets - u @ coordinates, 1 - 1 / len(u) - squares.sum(axis=1)

    def bands(some: Array) -> list[Band]:
        v = some[:, None] / (eigenvalues + some[:, None])
        if offset is None:
            # Both c and d are scaled by 1/max(v), so that tiny penalties do not underflow.
            v /= v.max(axis=1, keepdims=True)
        w = 1 / (len(u) * (beyond + v @ squares.T) ** 2)
        if offset is None and (w.max(axis=1) < EVEN * w.min(axis=1)).all():
            return _triangular_bands(np.linalg.cholesky((u.T * w[:, None]) @ u).transpose(0, 2, 1) * v[:, None])
        return [(u * v[:, None], 0, w)]

    nodes, weights = _stand_ins(alphas, eigenvalues, near_zero=decomposition.spans_all)
    return np.asarray(weights @ _square_sums(bands, nodes, coordinates, offset, dtype, device))


def kfold_errors(
    decomposition: Decomposition,
    targets: Array,
    alphas: Array,
    folds: NDArray[np.generic],
    *,
    dtype: DTypeLike = np.float64,
    device: str | None = None,
) -> Array:
    """Return the mean squared error of each target and alpha when whole folds are left out of the fit.

    Parameters
    ----------
    decomposition : Decomposition
        Of the training features.
    targets : ndarray, shape (n_train, n_targets)
        Training targets.
    alphas : ndarray, shape (n_alphas,)
        Penalties, positive.
    folds : ndarray, shape (n_train,)
        Label of each training stimulus; those of one label are left out together.
    dtype, device
        As for :func:`leave_one_out_errors`.

    Returns
    -------
    ndarray, shape (n_alphas, n_targets)
        Errors in squared units of the targets.

    Raises
    ------
    MeasureError
        If there are fewer than two folds, or one leaves fewer than 3 stimuli to fit on.
    """
    labels = list(dict.fromkeys(folds.tolist()))
    n = len(targets)
    fewest = n - max(np.count_nonzero(folds == label) for label in labels)
    if len(folds) != n or len(labels) < 2 or fewest < 3:
        raise MeasureError(
            f"{len(folds)} labels of {len(labels)} inner folds for {n} training stimuli, of which as few as {fewest} "
            f"remain to fit on; expected a label each, at least 2 folds and 3 stimuli beside each"
        )
    # A rotation of the features that changes no product between stimuli.
    features = decomposition.basis * np.sqrt(decomposition.eigenvalues)
    errors = np.zeros((len(alphas), targets.shape[1]))
    for label in labels:
        out = folds == label
        inner = decompose(features[~out], features[out])
        mean = targets[~out].mean(axis=0)
        nodes, weights = _stand_ins(alphas, inner.eigenvalues, near_zero=True)
        bands = partial(_left_out_bands, inner, 1 / n)
        coordinates = inner.basis.T @ (targets[~out] - mean)
        errors += weights @ _square_sums(bands, nodes, coordinates, targets[out] - mean, dtype, device)
    return errors


def _stand_ins(alphas: Array, eigenvalues: Array, near_zero: bool) -> tuple[Array, Array]:
    """Return fewer penalties, and the matrix that turns errors at these into errors at `alphas`."""
    ends = [alphas > FAR * eigenvalues.max()]
    if near_zero:
        ends.append(alphas < eigenvalues.min() / FAR)
    ends = [far for far in ends if np.count_nonzero(far) > N_STAND_INS]
    plain = ~np.logical_or.reduce(ends) if ends else np.ones(len(alphas), dtype=bool)
    blocks = [(plain, alphas[plain], np.eye(int(plain.sum())))]
    chebyshev = (1 + np.cos((2 * np.arange(N_STAND_INS) + 1) * np.pi / (2 * N_STAND_INS))) / 2
    for far in ends:
        high = bool(alphas[far].min() > eigenvalues.max())
        bound = FAR * eigenvalues.max() if high else eigenvalues.min() / FAR
        # In units of the bound: 1 at the near end, 0 for a penalty that is infinite (or nothing).
        x = bound / alphas[far] if high else alphas[far] / bound
        others = ~np.eye(N_STAND_INS, dtype=bool)
        lagrange = [
            np.prod((x[:, None] - chebyshev[o]) / (c - chebyshev[o]), axis=1)
            for c, o in zip(chebyshev, others, strict=True)
        ]
        blocks.append((far, bound / chebyshev if high else bound * chebyshev, np.stack(lagrange, axis=1)))
    nodes = np.concatenate([b[1] for b in blocks])
    weights = np.zeros((len(alphas), len(nodes)))
    start = 0
    for rows, block_nodes, block in blocks:
        weights[rows, start : start + len(block_nodes)] = block
        start += len(block_nodes)
    return nodes, weights


def _left_out_bands(inner: Decomposition, weight: float, alphas: Array) -> list[Band]:
    """Return what takes coordinates of the stimuli that were fitted to minus the predictions of those left out."""
    matrices = -inner.projection / (inner.eigenvalues + alphas[:, None])[:, None]
    return [(matrices, 0, np.full(matrices.shape[:2], weight))]


def _triangular_bands(triangular: Array) -> list[Band]:
    """Cut upper triangular matrices (n_penalties, rank, rank) into bands of rows."""
    edges = np.linspace(0, triangular.shape[1], N_BANDS + 1).astype(int)
    return [
        (triangular[:, top:bottom, top:], top, np.ones((len(triangular), bottom - top)))
        for top, bottom in pairwise(edges.tolist())
    ]


def _square_sums(
    bands: Callable[[Array], list[Band]],
    nodes: Array,
    coordinates: Array,
    offset: Array | None,
    dtype: DTypeLike,
    device: str | None,
) -> Array:
    """Return the sums of squares of each penalty for each column of the coordinates."""
    n_columns = coordinates.shape[1]
    if device is not None:
        return _square_sums_torch(bands, nodes, coordinates, offset, dtype, device)
    z = coordinates.astype(dtype, copy=False)
    shift = None if offset is None else offset.astype(dtype, copy=False)
    sums = np.zeros((len(nodes), n_columns))
    rows = len(z) if offset is None else len(offset)
    step = min(N_STACKED, max(1, STACKED_ENTRIES // (rows * len(z))))
    for first in range(0, len(nodes), step):
        own = sums[first : first + step]
        for matrix, start, weights in bands(nodes[first : first + step]):
            stacked = matrix.astype(dtype, order="C", copy=False).reshape(-1, matrix.shape[2])
            w = weights.astype(dtype, copy=False)[:, None]
            for left in range(0, n_columns, COLUMNS):
                part = slice(left, left + COLUMNS)
                left_out = (stacked @ z[start:, part]).reshape(*matrix.shape[:2], -1)
                if shift is not None:
                    left_out += shift[:, part]
                left_out *= left_out
                own[:, part] += (w @ left_out)[:, 0]
    return sums


def _square_sums_torch(
    bands: Callable[[Array], list[Band]],
    nodes: Array,
    coordinates: Array,
    offset: Array | None,
    dtype: DTypeLike,
    device: str,
) -> Array:
    """Do the same on a torch device."""
    import torch

    def move(array: Array) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(array, dtype=dtype), device=device)

    try:
        z = move(coordinates)
    except (RuntimeError, TypeError, AssertionError) as why:
        reason = str(why).splitlines()[0]
        raise MeasureError(f"torch cannot hold {np.dtype(dtype)} on the device {device!r}: {reason}") from why
    shift = 0.0 if offset is None else move(offset)
    sums = torch.zeros((len(nodes), z.shape[1]), dtype=z.dtype, device=z.device)
    for row, node in zip(sums, nodes, strict=True):
        for matrix, start, weights in bands(node[None]):
            row += move(weights[0]) @ (move(matrix[0]) @ z[start:] + shift).square()
    return np.asarray(sums.cpu().numpy(), dtype=np.float64)
